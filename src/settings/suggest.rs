//! Suggests a name in place of one that does not exist.

/// The name among `known` that `written` is most likely a misspelling of, if any is close.
///
/// Close means at most one edit (insertion, deletion, replacement, swap) for every three characters, and at least one.
pub fn suggest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Longer names are not misspellings of ours, and the comparison would be quadratic in untrusted input.
    const WRITTEN_BYTES_MAX: usize = 64;
    if written.is_empty() || written.len() > WRITTEN_BYTES_MAX {
        return None;
    }
    let edits_max = (written.chars().count() / 3).max(1);
    let near = known.into_iter().map(|name| (strsim::osa_distance(written, name), name));
    near.filter(|(edits, _)| *edits <= edits_max).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_close() {
        let known = ["path", "kind", "record_bytes_max"];
        assert_eq!(suggest("pth", known), Some("path"));
        assert_eq!(suggest("knid", known), Some("kind"));
        assert_eq!(suggest("records_byte_max", known), Some("record_bytes_max"));
        assert_eq!(suggest("broker", known), None);
        assert_eq!(suggest("", known), None);
        assert_eq!(suggest(&"a".repeat(100_000), known), None);
    }
}
