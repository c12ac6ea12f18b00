//! Steps over the plain parts of a JSON text eight bytes at a time: most of a resource is indentation and plain strings.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// How many bytes stand before the first that a JSON string can't hold as it is: a quote, a backslash or a control
/// character. The whole length where there is none.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return n * 8 + (marks.trailing_zeros() / 8) as usize;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

/// How many blanks (space, tab, line feed, carriage return) stand at the start.
pub(super) fn blank_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
        while bytes.get(at..).and_then(<[u8]>::first_chunk) == Some(b"        ") {
            at += 8;
        }
    }
    at
}

/// Sets the high bit of each byte that is special. A borrow can also set bits above a true mark, never below the first.
const fn marks(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (control | zero_bytes(quote) | zero_bytes(backslash)) & HIGH_BITS
}

const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_plain_way_for_every_byte_at_every_place() {
        for special in 0..=255_u8 {
            for filler in [b'a', b' ', 0x21, 0x7f, 0x80, 0xff, b'[', b']', b'#'] {
                for place in 0..20 {
                    let mut bytes = [filler; 20];
                    bytes[place] = special;
                    let plain = bytes.iter().position(|b| *b == b'"' || *b == b'\\' || *b < 0x20).unwrap_or(20);
                    assert_eq!(plain_len(&bytes), plain, "{special} among {filler} at {place}");
                    let blank = bytes.iter().position(|b| !b" \t\r\n".contains(b)).unwrap_or(20);
                    assert_eq!(blank_len(&bytes), blank, "{special} among {filler} at {place}");
                }
            }
        }
    }
}
