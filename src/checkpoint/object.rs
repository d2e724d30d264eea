//! The layout of an object of a checkpoint: pieces, each with the entries of one slot.

use bytes::Bytes;

use super::manifest::ObjectRef;

/// The header of a piece: the number of its slot, and the size of the entries, both in 4 bytes, little-endian.
const HEAD_BYTES: usize = 2 * size_of::<u32>();

/// Appends a piece.
pub(super) fn push(object: &mut Vec<u8>, slot: u32, entries: &[u8]) {
    object.extend(slot.to_le_bytes());
    object.extend(u32::try_from(entries.len()).expect("a piece is far smaller than 4 GiB").to_le_bytes());
    object.extend_from_slice(entries);
}

/// The reference to `object` under `key`.
pub(super) fn refer(key: String, object: &[u8]) -> ObjectRef {
    ObjectRef { key, bytes: object.len() as u64, crc32: crc32fast::hash(object) }
}

/// Whether `bytes` are what was written; if not, what is wrong with them.
pub(super) fn check(reference: &ObjectRef, bytes: &[u8]) -> Result<(), String> {
    if bytes.len() as u64 != reference.bytes {
        return Err(format!("it has {} bytes and should have {}", bytes.len(), reference.bytes));
    }
    if crc32fast::hash(bytes) != reference.crc32 {
        return Err("its checksum does not match".to_owned());
    }
    Ok(())
}

/// The pieces of an object, by slot number.
pub(super) fn pieces(object: &Bytes) -> Result<Vec<(u32, Bytes)>, String> {
    let (mut at, mut pieces) = (0, Vec::new());
    while let Some((head, after)) = object[at..].split_first_chunk::<HEAD_BYTES>() {
        let [s0, s1, s2, s3, bytes @ ..] = *head;
        let bytes = u32::from_le_bytes(bytes) as usize;
        if after.len() < bytes {
            return Err(format!("the piece at byte {at} is cut off"));
        }
        let begin = at + HEAD_BYTES;
        pieces.push((u32::from_le_bytes([s0, s1, s2, s3]), object.slice(begin..begin + bytes)));
        at = begin + bytes;
    }
    if at < object.len() { Err(format!("the piece at byte {at} is cut off")) } else { Ok(pieces) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_was_pushed_and_damage_is_seen() {
        let mut object = Vec::new();
        for (slot, entries) in [(3, "abc"), (0, ""), (7, "defgh")] {
            push(&mut object, slot, entries.as_bytes());
        }
        let reference = refer("k".into(), &object);
        check(&reference, &object).unwrap();
        let read: Vec<_> = pieces(&Bytes::from(object.clone())).unwrap();
        let read: Vec<_> = read.iter().map(|(slot, entries)| (*slot, &entries[..])).collect();
        assert_eq!(read, [(3, &b"abc"[..]), (0, b""), (7, b"defgh")]);
        for at in 0..object.len() {
            assert!(check(&reference, &object[..at]).is_err());
            let mut flipped = object.clone();
            flipped[at] ^= 1;
            assert!(check(&reference, &flipped).is_err());
        }
        assert!(pieces(&Bytes::from(object[..object.len() - 1].to_vec())).is_err());
    }
}
