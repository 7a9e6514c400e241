//! Links that carry what they show: a short recording, compressed, in the fragment of the address. A browser does not send the
//! fragment to any server.

use joey_shared::recording::Detail;
use joey_shared::view::ViewKey;

/// Longest data in a link, in characters. Browsers accept more, but programs in which people share links cut them.
pub const LINK_MAX: usize = 64_000;
/// Longest data in a link that is read, in characters: what the address bar of any browser holds.
const READ_MAX: usize = 2_000_000;
/// Longest recording in a link, in bytes. A link can be made by anybody, and a short one can expand to very much.
pub const RECORDING_MAX: usize = 16 << 20;

/// The data for a link: a digit for its format and how much of the window it has, then the compressed recording in the alphabet
/// of base64url.
#[must_use]
pub fn encode(detail: Detail, compressed: &[u8]) -> String {
    let mut text = String::with_capacity(1 + compressed.len().div_ceil(3) * 4);
    text.push(match detail {
        Detail::Seconds => '1',
        Detail::Sum => '2',
    });
    for chunk in compressed.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What the data of a link has, and its compressed recording; `None` if it cannot be data of a link.
#[must_use]
pub fn decode(text: &str) -> Option<(Detail, Vec<u8>)> {
    let (format, digits) = text.split_at_checked(1).filter(|_| text.len() <= READ_MAX)?;
    let detail = match format {
        "1" => Detail::Seconds,
        "2" => Detail::Sum,
        _ => return None,
    };
    let value = |digit: u8| ALPHABET.iter().position(|&known| known == digit).map(|value| value as u32);
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.as_bytes().chunks(4) {
        let bits = chunk.iter().try_fold(0, |bits, &digit| Some(bits << 6 | value(digit)?))? << (6 * (4 - chunk.len()));
        bytes.extend(bits.to_be_bytes()[1..].iter().take(chunk.len() * 6 / 8));
    }
    Some((detail, bytes))
}

/// Whether a link to the page of view `shown` contains view `other`: the view itself, and those with a name in common, which
/// are the ones in its tables.
#[must_use]
pub fn is_related(shown: &ViewKey, other: &ViewKey) -> bool {
    let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
    same(&shown.pipeline, &other.pipeline) || same(&shown.worker, &other.worker) || same(&shown.name, &other.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_needs_no_escapes() {
        assert_eq!(encode(Detail::Seconds, &[0xfb, 0xff, 0xbf, 0x66]), "1-_-_Zg");
        assert_eq!(decode("1-_-_Zg"), Some((Detail::Seconds, vec![0xfb, 0xff, 0xbf, 0x66])));
        for bad in ["", "3AAAA", "1A A", "1%20", "é", "1é"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_detail_page_takes_its_tables_with_it() {
        let computation = ViewKey::computation("n");
        assert!(is_related(&computation, &computation));
        assert!(!is_related(&computation, &ViewKey::worker("n")));
    }

    #[test]
    fn data_is_the_same_after_a_link() {
        for length in 0..50_u8 {
            let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(73) ^ length).collect();
            assert_eq!(decode(&encode(Detail::Sum, &bytes)), Some((Detail::Sum, bytes)));
        }
    }
}
