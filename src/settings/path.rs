//! Paths as people write them: `~/logs`, `$LOGS/auth.log`, `${LOGS}/auth.log`.
//!
//! A leading `~` and variables of the environment are replaced wherever a path is read, and nowhere else. What cannot be
//! replaced is a fault: a path is never taken as a folder whose name is `~` or `${HOME}`. What a variable holds is taken as it
//! is and not expanded again.

use std::borrow::Cow;
use std::env::VarError;
use std::path::Path;

/// What people are told who meant the character itself.
const DOLLAR: &str = "write $$ for a dollar sign";

/// The path that `text` stands for.
///
/// `~` and `~/…` begin with `HOME`; `$NAME` and `${NAME}` are variables of the environment; `$$` is a dollar sign.
///
/// # Errors
/// One line that says what is wrong and what to write: a variable that is not set, empty or not UTF-8; `~user`; a `$` before
/// anything but a name.
pub fn expand(text: &str) -> Result<String, String> {
    expand_with(text, &variable, &|value| value.into())
}

/// The same for a glob: characters of a variable's value that mean something in a glob are quoted.
///
/// # Errors
/// As for [`expand`].
pub fn expand_glob(text: &str) -> Result<String, String> {
    expand_with(text, &variable, &|value| glob::Pattern::escape(value).into())
}

/// Text that [`expand`] turns back into `path`, for another process of this program. A path that is not UTF-8 has none.
pub(crate) fn literal(path: &Path) -> Option<String> {
    let text = path.to_str()?.replace('$', "$$");
    Some(if text.starts_with('~') { format!("./{text}") } else { text })
}

/// Whether somebody who wrote `text` as anything but a path expects it to be expanded: `~/x`, `$NAME`, `$NAME/x`, or a `${NAME}`
/// anywhere. A `$` at the end of a regular expression is none.
pub(crate) fn is_meant_to_expand(text: &str) -> bool {
    if text == "~" || text.starts_with("~/") {
        return true;
    }
    let braced = |rest: &str| rest.split_once('}').is_some_and(|(name, _)| is_name(name));
    if text.split("${").skip(1).any(braced) {
        return true;
    }
    text.strip_prefix('$').and_then(|rest| rest.split('/').next()).is_some_and(is_name)
}

fn expand_with(
    text: &str,
    variable: &dyn Fn(&str) -> Result<String, String>,
    quoted: &dyn for<'v> Fn(&'v str) -> Cow<'v, str>,
) -> Result<String, String> {
    let mut path = String::with_capacity(text.len());
    let mut rest = text;
    if let Some(behind) = text.strip_prefix('~') {
        let user = behind.split('/').next().unwrap_or_default();
        if !user.is_empty() {
            return Err(format!(
                "only ~/ is expanded, not ~{user}: write the whole path, or ./~{user} if that is the name"
            ));
        }
        path.push_str(&quoted(&variable("HOME")?));
        rest = behind;
    }
    while let Some((before, behind)) = rest.split_once('$') {
        path.push_str(before);
        if let Some(more) = behind.strip_prefix('$') {
            path.push('$');
            rest = more;
            continue;
        }
        let (name, more) = match behind.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| format!("${{ without a }}; {DOLLAR}"))?,
            None => {
                let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                behind.split_at(behind.find(|c| !in_name(c)).unwrap_or(behind.len()))
            }
        };
        if !is_name(name) {
            return Err(format!("a $ comes before the name of an environment variable; {DOLLAR}"));
        }
        path.push_str(&quoted(&variable(name)?));
        rest = more;
    }
    path.push_str(rest);
    Ok(path)
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn variable(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        // "$LOGS/x" with an empty LOGS is "/x", which nobody means.
        Ok(value) if value.is_empty() => Err(format!("environment variable {name} is empty")),
        Ok(value) => Ok(value),
        Err(VarError::NotPresent) => Err(format!("environment variable {name} is not set; {DOLLAR}")),
        Err(VarError::NotUnicode(_)) => Err(format!("environment variable {name} is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, String> {
        let variable = |name: &str| match name {
            "HOME" => Ok("/homes/ann".to_owned()),
            "LOGS" => Ok("/var/[a]$HOME".to_owned()),
            "_A1" => Ok("x".to_owned()),
            other => Err(format!("{other} is not set")),
        };
        expand_with(text, &variable, &|value| value.into())
    }

    #[test]
    fn home_and_variables_are_expanded_once() {
        for (text, path) in [
            ("~", "/homes/ann"),
            ("~/alerts", "/homes/ann/alerts"),
            ("$HOME/alerts", "/homes/ann/alerts"),
            ("${HOME}/alerts", "/homes/ann/alerts"),
            ("a/$_A1", "a/x"),
            ("a/${_A1}b/${_A1}", "a/xb/x"),
            ("$LOGS", "/var/[a]$HOME"),
            ("cost$$5/$$HOME", "cost$5/$HOME"),
            ("a/~/b~", "a/~/b~"),
            ("./~ann", "./~ann"),
            ("", ""),
            ("plain/é.log", "plain/é.log"),
        ] {
            assert_eq!(of(text).as_deref(), Ok(path), "{text}");
        }
        let escaped = expand_with("$L/*.log", &|_| Ok("/a[1]".to_owned()), &|v| glob::Pattern::escape(v).into());
        assert_eq!(escaped.as_deref(), Ok("/a[[]1[]]/*.log"));
    }

    #[test]
    fn what_cannot_be_expanded_is_refused_with_what_to_write() {
        for (text, why) in [
            ("~ann/x", "not ~ann: write the whole path, or ./~ann"),
            ("$NO_SUCH/x", "NO_SUCH is not set"),
            ("${NO_SUCH}", "NO_SUCH is not set"),
            ("a$", "write $$"),
            ("a$/b", "write $$"),
            ("$5", "write $$"),
            ("${HOME", "without a }"),
            ("${}", "write $$"),
            ("${HOME:-/x}", "write $$"),
            ("$(pwd)/x", "write $$"),
            ("$é", "write $$"),
        ] {
            let found = of(text).unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
        assert_eq!(
            expand("$TIDEWATCH_NO_SUCH/x"),
            Err("environment variable TIDEWATCH_NO_SUCH is not set; write $$ for a dollar sign".to_owned())
        );
    }

    #[test]
    fn only_what_looks_like_a_variable_is_meant_to_expand() {
        for text in ["~", "~/x", "$HOME", "$HOME/x", "a-${HOME}-b", "${A}"] {
            assert!(is_meant_to_expand(text), "{text}");
        }
        for text in ["", "^root$", "~x", "a$b", "$5", "${", "${}", "${a b}", "$", "a~/b", "^(a|b)$|c"] {
            assert!(!is_meant_to_expand(text), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_literal_is_expanded_to_itself(text in "[~$a/{}.é]{0,12}") {
            let written = literal(Path::new(&text)).unwrap();
            let back = of(&written).unwrap();
            proptest::prop_assert_eq!(back.strip_prefix("./").filter(|_| text.starts_with('~')).unwrap_or(&back), &text);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = (of(&text), expand_glob(&text), is_meant_to_expand(&text));
        }
    }
}
