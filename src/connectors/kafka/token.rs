//! The token with which a client logs in by OAUTHBEARER: read from a file, and read again before it expires.
//!
//! Whoever gets tokens from the identity provider writes the file anew in time; librdkafka asks for the next token when four
//! fifths of the time of this one are over. The wall clock decides when a token is asked for, and nothing else.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::settings::Secret;
use crate::time::{Clock, SystemClock};

/// For how long a token counts that does not say when it expires: the file is read again before that is over.
const OPAQUE_TOKEN_LIFE_MS: i64 = 300_000;

/// The name of who logs in, if the token does not say: brokers take it from the token, not from here.
const NOBODY: &str = "tidewatch";

/// A file that holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
}

/// What we read of a token's claims.
#[derive(Deserialize)]
struct Claims {
    /// Seconds since 1970; some write a fraction.
    exp: Option<f64>,
    sub: Option<String>,
}

impl TokenFile {
    /// The token in the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        TokenFile { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token that is in the file at `now`, and until when it counts.
    ///
    /// # Errors
    /// One line that names the file and never quotes it: it cannot be read, holds no token, or one that has expired.
    pub(super) fn read(&self, now_ms: u64) -> Result<OAuthToken, String> {
        let path = &self.path;
        let text = Secret::from_file(path)?;
        let token = text.expose().trim();
        if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{path:?} holds no token: one word is expected"));
        }
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let claims = claims(token);
        let lifetime_ms = match claims.as_ref().and_then(|claims| claims.exp) {
            // Rounded down, and out of range only if it is nonsense.
            Some(seconds) => (seconds * 1000.0) as i64,
            None => now_ms.saturating_add(OPAQUE_TOKEN_LIFE_MS),
        };
        if lifetime_ms <= now_ms {
            let ago = now_ms.saturating_sub(lifetime_ms) / 1000;
            return Err(format!(
                "the token in {path:?} expired {ago} s ago: whatever writes the file has to write a new one"
            ));
        }
        let principal_name = claims.and_then(|claims| claims.sub).unwrap_or_else(|| NOBODY.to_owned());
        Ok(OAuthToken { token: token.to_owned(), principal_name, lifetime_ms })
    }
}

/// What a client hands to librdkafka when that asks for a token.
pub(super) fn answer(file: Option<&TokenFile>) -> Result<OAuthToken, Box<dyn StdError>> {
    let file = file.ok_or("no token is configured")?;
    Ok(file.read(SystemClock.now_ms())?)
}

/// The claims of a JSON web token; `None` if it is none, and then only the broker can understand it.
fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, payload) = (parts.next()?, parts.next()?);
    let json = URL_SAFE_NO_PAD.decode(payload).or_else(|_| URL_SAFE.decode(payload)).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn read(text: &str) -> Result<OAuthToken, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        TokenFile::new(file.path()).read(NOW_S * 1000)
    }

    fn token(claims: &str) -> String {
        format!("{}.{}.signature", URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_web_token_says_who_and_until_when() {
        for (written, ms) in [("1800000600", 600_000), ("1800000600.5", 600_500), ("1800000001", 1000)] {
            let text = token(&format!("{{\"exp\":{written},\"sub\":\"svc\",\"aud\":[1]}}"));
            let read = read(&format!("{text}\n")).unwrap();
            assert_eq!((read.token.as_str(), read.principal_name.as_str()), (text.as_str(), "svc"));
            assert_eq!(read.lifetime_ms, NOW_S as i64 * 1000 + ms);
        }
    }

    #[test]
    fn a_token_that_only_the_broker_understands_is_read_again_after_a_while() {
        for text in ["opaque", "a.b.c", "a.!.c", &token("[]"), &token("{}")] {
            let read = read(text).unwrap();
            assert_eq!(
                (read.principal_name.as_str(), read.lifetime_ms),
                (NOBODY, (NOW_S as i64 + 300) * 1000),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_never_quoted() {
        let expired = token(&format!("{{\"exp\":{}}}", NOW_S - 7));
        for (text, why) in [
            (expired.as_str(), "expired 7 s ago"),
            (&token("{\"exp\":-1e300}"), "expired"),
            ("two words", "no token"),
            ("a\u{1b}[1m", "no token"),
            (" \n", "no token"),
            ("", "is empty"),
        ] {
            let said = read(text).err().unwrap();
            assert!(said.contains(why) && !said.contains("two words") && !said.contains(&expired), "{said}");
        }
        assert!(TokenFile::new("/no/such/file").read(0).err().unwrap().contains("/no/such/file"));
        // One that never expires is asked for again when librdkafka likes.
        assert_eq!(read(&token("{\"exp\":1e300}")).unwrap().lifetime_ms, i64::MAX);
    }
}
