//! Random changes of messages: of bytes, and of words that parsers disagree about.

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.below(1);
        random
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % most.max(1) as u64).unwrap()
    }
}

pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What is put in somewhere
const WORDS: [&str; 46] = [
    "\"name\":\"b\",",
    ",\"name\":\"b\"",
    "\"Name\":\"b\",",
    "\"n\\u0061me\":\"b\",",
    "\"name\\u0000\":\"b\",",
    "\"\u{ff4e}ame\":\"b\",",
    "\"params\":{\"name\":\"b\"},",
    "\"PARAMS\":{\"name\":\"b\"},",
    "\"param\u{17f}\":{\"name\":\"b\"},",
    "\"method\":\"tools/list\",",
    "\"Method\":\"tools/list\",",
    "\"arguments\":{\"x\":2},",
    "\"Arguments\":{\"x\":2},",
    "\"uri\":\"file:///b\",",
    "\"URI\":\"file:///b\",",
    "\"x\":2,",
    "\"X\":2,",
    "\"\\u0078\":2,",
    "\"__proto__\":{\"name\":\"b\"},",
    "\"toString\":1,",
    "\"future\":[1.0,{}],",
    "\"_meta\":{\"progressToken\":7},",
    "\"inputResponses\":{},",
    "\"requestState\":\"s\",",
    "\"task\":{},",
    "\"resultType\":\"complete\",",
    "\"isError\":true,",
    "\"structuredContent\":[1],",
    "\"ttlMs\":1,",
    "\"x-mcp-header\":\"A\",",
    "\\u0061",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\u0000",
    "\u{feff}",
    "\u{200b}",
    " ",
    "\n",
    "\t",
    "1e2",
    "-0.0",
    "9007199254740993",
    "1e400",
    "{}",
    "[]",
    ",",
];

/// One of the messages with a few changes
pub(crate) fn mutated(messages: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = messages[random.below(messages.len())].clone();
    for _ in 0..=random.below(2) {
        let at = random.below(bytes.len() + 1);
        let length = random.below(12).min(bytes.len() - at);
        match random.below(8) {
            0 if !bytes.is_empty() => {
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= 1 << random.below(8);
            }
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            3 => {
                let other = &messages[random.below(messages.len())];
                let from = random.below(other.len() + 1);
                bytes.splice(at..at, other[from..(from + length).min(other.len())].to_vec());
            }
            4 => escape(&mut bytes, random),
            // Where a member may stand, so that many of them are still messages.
            _ => {
                let word = WORDS[random.below(WORDS.len())].bytes();
                let places: Vec<usize> = (0..bytes.len()).filter(|at| matches!(bytes[*at], b'{' | b',')).collect();
                let at = places.get(random.below(places.len())).map_or(at, |at| at + 1);
                bytes.splice(at..at, word);
            }
        }
    }
    bytes.truncate(20_000);
    bytes
}

/// A letter written as an escape, or in the other case
fn escape(bytes: &mut Vec<u8>, random: &mut Random) {
    let letters: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_alphabetic()).collect();
    let Some(at) = letters.get(random.below(letters.len())).copied() else { return };
    if random.below(4) == 0 {
        bytes[at] ^= 0x20;
    } else {
        bytes.splice(at..=at, format!("\\u{:04x}", bytes[at]).into_bytes());
    }
}
