//! A line with a checksum: what the files of a state directory consist of.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Digits of the checksum.
const CHECKSUM_DIGITS: usize = 8;

/// `content` as one line.
pub(crate) fn to_line<T: Serialize>(content: &T) -> Vec<u8> {
    let json = serde_json::to_vec(content).expect("what is written here can be JSON");
    let mut line = seal(&json);
    line.push(b'\n');
    line
}

/// `json` after its checksum.
pub(crate) fn seal(json: &[u8]) -> Vec<u8> {
    let mut line = format!("{:08x} ", crc32fast::hash(json)).into_bytes();
    line.extend_from_slice(json);
    line
}

/// The content of a line without its newline, or what is wrong with it.
pub(crate) fn from_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    let (checksum, rest) = line.split_at_checked(CHECKSUM_DIGITS).ok_or("it is too short")?;
    let json = rest.strip_prefix(b" ").ok_or("it has no checksum")?;
    let checksum = std::str::from_utf8(checksum).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    if checksum != Some(crc32fast::hash(json)) {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_slice(json).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let line = to_line(&vec![1, 2, 3]);
        let text = &line[..line.len() - 1];
        assert_eq!(from_line::<Vec<u32>>(text), Ok(vec![1, 2, 3]));
        for at in 0..text.len() {
            assert!(from_line::<Vec<u32>>(&text[..at]).is_err(), "cut at {at}");
            let mut flipped = text.to_vec();
            flipped[at] ^= 1;
            assert!(from_line::<Vec<u32>>(&flipped).is_err(), "flipped at {at}");
        }
    }
}
