//! The rows of an epoch, one behind the other, until they are committed.

/// Rows with their keys.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// For each row, the end of its key and its own end.
    ends: Vec<(usize, usize)>,
    keyed: bool,
}

impl Rows {
    pub(super) fn push(&mut self, key: Option<&[u8]>, row: &[u8]) {
        // A sink has keys for all rows or for none.
        self.keyed = key.is_some();
        self.bytes.extend_from_slice(key.unwrap_or_default());
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(row);
        self.ends.push((key_end, self.bytes.len()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes there are, with the keys.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(key_end, end)| {
            let key = &self.bytes[std::mem::replace(&mut start, *end)..*key_end];
            (self.keyed.then_some(key), &self.bytes[*key_end..*end])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_with_their_keys_in_order() {
        let mut rows = Rows::default();
        assert!(rows.is_empty());
        rows.push(Some(b"k"), b"row");
        rows.push(Some(b""), b"");
        let all: Vec<_> = rows.iter().collect();
        assert_eq!(all, [(Some(&b"k"[..]), &b"row"[..]), (Some(b""), b"")]);
        assert_eq!(rows.bytes(), 4);
        let mut rows = Rows::default();
        rows.push(None, b"row");
        assert_eq!(rows.iter().collect::<Vec<_>>(), [(None, &b"row"[..])]);
    }
}
