//! The names of fields in JSON: the rules of `rename_all`, and the bytes of a key.
//!
//! The rules are the ones that serde's users know, by the same names.

/// A rule of `rename_all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

/// Every rule by its name, which is an example of itself.
const RULES: [(&str, Rule); 8] = [
    ("lowercase", Rule::Lower),
    ("UPPERCASE", Rule::Upper),
    ("PascalCase", Rule::Pascal),
    ("camelCase", Rule::Camel),
    ("snake_case", Rule::Snake),
    ("SCREAMING_SNAKE_CASE", Rule::ScreamingSnake),
    ("kebab-case", Rule::Kebab),
    ("SCREAMING-KEBAB-CASE", Rule::ScreamingKebab),
];

impl Rule {
    /// The rule of that name, or the message that lists the names.
    pub fn parse(name: &str) -> Result<Rule, String> {
        RULES.iter().find(|(n, _)| *n == name).map(|(_, rule)| *rule).ok_or_else(|| {
            let names: Vec<_> = RULES.iter().map(|(n, _)| format!("{n:?}")).collect();
            format!("no such rule {name:?}; expected one of {}", names.join(", "))
        })
    }

    /// The name in JSON of a field that is `field` in Rust, where names are in snake case.
    pub fn apply(self, field: &str) -> String {
        match self {
            Rule::Lower | Rule::Snake => field.to_owned(),
            Rule::Upper | Rule::ScreamingSnake => field.to_ascii_uppercase(),
            Rule::Pascal => field.split('_').map(capitalised).collect(),
            Rule::Camel => {
                let pascal = Rule::Pascal.apply(field);
                let head = pascal.chars().next().map_or(0, char::len_utf8);
                pascal[..head].to_ascii_lowercase() + &pascal[head..]
            }
            Rule::Kebab => field.replace('_', "-"),
            Rule::ScreamingKebab => field.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// The name in JSON of a variant that is `variant` in Rust, where names are in Pascal case.
    pub fn apply_to_variant(self, variant: &str) -> String {
        match self {
            Rule::Lower => variant.to_ascii_lowercase(),
            Rule::Upper => variant.to_ascii_uppercase(),
            Rule::Pascal => variant.to_owned(),
            words => words.apply(&snake(variant)),
        }
    }
}

/// `NewHost` is `new_host`.
fn snake(pascal: &str) -> String {
    let mut snake = String::new();
    for c in pascal.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn capitalised(word: &str) -> String {
    let head = word.chars().next().map_or(0, char::len_utf8);
    word[..head].to_ascii_uppercase() + &word[head..]
}

/// `name` as a JSON string, quotes included.
pub fn quoted(name: &str) -> String {
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_names_fields_as_its_own_name_is_written() {
        for (name, rule) in RULES {
            assert_eq!(Rule::parse(name), Ok(rule));
        }
        let field = "source_ip";
        let named: Vec<_> = RULES.iter().map(|(_, rule)| rule.apply(field)).collect();
        let expected =
            ["source_ip", "SOURCE_IP", "SourceIp", "sourceIp", "source_ip", "SOURCE_IP", "source-ip", "SOURCE-IP"];
        assert_eq!(named, expected);
        let named: Vec<_> = RULES.iter().map(|(_, rule)| rule.apply_to_variant("SourceIp")).collect();
        assert_eq!(named, [&["sourceip", "SOURCEIP"], &expected[2..]].concat());
        assert_eq!(Rule::Camel.apply("_"), "");
        assert!(Rule::parse("camel").is_err_and(|e| e.contains("\"camelCase\"")));
    }

    #[test]
    fn keys_are_json_strings() {
        assert_eq!(quoted("ts"), r#""ts""#);
        assert_eq!(quoted("a\"b\\\n"), r#""a\"b\\\u000a""#);
        assert_eq!(quoted("größe"), "\"größe\"");
    }
}
