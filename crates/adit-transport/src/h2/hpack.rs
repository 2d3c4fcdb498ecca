//! HPACK (RFC 7541): header lists as bytes, indexed as Chromium does it. Pure.
//!
//! Not here: the Huffman code (`huffman`), frames (`frame`).

use std::collections::VecDeque;

use super::huffman;

/// What an entry costs besides name and value, RFC 7541 §4.1.
const ENTRY_OVERHEAD: usize = 32;
/// The table that both ends begin with.
const DEFAULT_TABLE: usize = 4096;
/// The most we keep for encoding, whatever the peer would allow.
const MAX_ENCODER_TABLE: usize = 65_536;

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A header block is not one: the connection must end, because the tables of the ends differ from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadBlock;

/// Writes header blocks.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: Table,
    /// A new size of the table that the peer must be told.
    resized: Option<usize>,
}

/// Reads header blocks.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// What we have allowed the peer.
    max_table: usize,
    /// The most bytes of a list, counted as in RFC 9113 §6.5.2.
    max_list: usize,
}

/// Fields that were seen, the newest first.
#[derive(Debug)]
struct Table {
    entries: VecDeque<Field>,
    size: usize,
    max: usize,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(DEFAULT_TABLE), resized: None }
    }

    /// The peer has said how large its table is.
    pub(crate) fn allow_table(&mut self, size: usize) {
        let size = size.min(MAX_ENCODER_TABLE);
        if size != self.table.max {
            self.table.resize(size);
            self.resized = Some(size);
        }
    }

    /// Appends the block of a header list.
    pub(crate) fn encode<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, &'a str)>, out: &mut Vec<u8>) {
        if let Some(size) = self.resized.take() {
            put_integer(size, 5, 0x20, out);
        }
        for (name, value) in fields {
            self.field(name, value, out);
        }
    }

    fn field(&mut self, name: &str, value: &str, out: &mut Vec<u8>) {
        if let Some(index) = self.table.find(name, value) {
            return put_integer(index, 7, 0x80, out);
        }
        let index = self.table.find_name(name);
        // As Chromium: of the pseudo-headers only the authority is worth remembering. A secret must not be remembered.
        let (bits, pattern) = match name {
            "authorization" => (4, 0x10),
            _ if name.starts_with(':') && name != ":authority" => (4, 0),
            _ => (6, 0x40),
        };
        put_integer(index.unwrap_or(0), bits, pattern, out);
        if index.is_none() {
            put_string(name, out);
        }
        put_string(value, out);
        if bits == 6 {
            self.table.add(Field { name: name.into(), value: value.into() });
        }
    }
}

impl Decoder {
    /// With what we have told the peer of our table and of the longest list.
    pub(crate) fn new(max_table: usize, max_list: usize) -> Self {
        Self { table: Table::new(DEFAULT_TABLE.min(max_table)), max_table, max_list }
    }

    /// Reads a whole block.
    pub(crate) fn decode(&mut self, mut block: &[u8]) -> Result<Vec<Field>, BadBlock> {
        let (mut fields, mut size) = (Vec::new(), 0);
        while let Some(first) = block.first() {
            let field = match first {
                0x80.. => self.table.at(take_integer(&mut block, 7)?).ok_or(BadBlock)?,
                0x40..=0x7f => {
                    let field = self.literal(&mut block, 6)?;
                    self.table.add(field.clone());
                    field
                }
                0x20..=0x3f => {
                    let size = take_integer(&mut block, 5)?;
                    if size > self.max_table || !fields.is_empty() {
                        return Err(BadBlock);
                    }
                    self.table.resize(size);
                    continue;
                }
                _ => self.literal(&mut block, 4)?,
            };
            size += field.size();
            if size > self.max_list {
                return Err(BadBlock);
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, block: &mut &[u8], bits: u32) -> Result<Field, BadBlock> {
        let name = match take_integer(block, bits)? {
            0 => take_string(block, self.max_list)?,
            index => self.table.at(index).ok_or(BadBlock)?.name,
        };
        Ok(Field { name, value: take_string(block, self.max_list)? })
    }
}

impl Field {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
    }
}

impl Table {
    fn new(max: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, max }
    }

    fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict(0);
    }

    fn add(&mut self, field: Field) {
        self.evict(field.size());
        if field.size() <= self.max {
            self.size += field.size();
            self.entries.push_front(field);
        }
    }

    /// Makes room for so many bytes.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.max {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size();
        }
    }

    fn at(&self, index: usize) -> Option<Field> {
        let place = index.checked_sub(1)?;
        match STATIC.get(place) {
            Some((name, value)) => Some(Field { name: (*name).into(), value: (*value).into() }),
            None => self.entries.get(place - STATIC.len()).cloned(),
        }
    }

    fn find(&self, name: &str, value: &str) -> Option<usize> {
        let fixed = STATIC.iter().position(|(n, v)| *n == name && *v == value);
        fixed.or_else(|| self.place(|field| field.name == name && field.value == value)).map(|place| place + 1)
    }

    fn find_name(&self, name: &str) -> Option<usize> {
        let fixed = STATIC.iter().position(|(n, _)| *n == name);
        fixed.or_else(|| self.place(|field| field.name == name)).map(|place| place + 1)
    }

    fn place(&self, is_it: impl Fn(&Field) -> bool) -> Option<usize> {
        self.entries.iter().position(is_it).map(|place| place + STATIC.len())
    }
}

/// RFC 7541 §5.1.
fn put_integer(value: usize, bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if value < most {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn take_integer(bytes: &mut &[u8], bits: u32) -> Result<usize, BadBlock> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(take_byte(bytes)?) & most;
    if value < most {
        return Ok(value);
    }
    // Four more bytes are more than anything that is allowed.
    for shift in [0, 7, 14, 21] {
        let byte = take_byte(bytes)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(BadBlock)
}

fn take_byte(bytes: &mut &[u8]) -> Result<u8, BadBlock> {
    let (first, rest) = bytes.split_first().ok_or(BadBlock)?;
    *bytes = rest;
    Ok(*first)
}

/// RFC 7541 §5.2. Encoded only if that makes it shorter.
fn put_string(text: &str, out: &mut Vec<u8>) {
    let encoded = huffman::encoded_len(text.as_bytes());
    if encoded < text.len() {
        put_integer(encoded, 7, 0x80, out);
        huffman::encode(text.as_bytes(), out);
    } else {
        put_integer(text.len(), 7, 0, out);
        out.extend_from_slice(text.as_bytes());
    }
}

fn take_string(bytes: &mut &[u8], max: usize) -> Result<String, BadBlock> {
    let is_encoded = bytes.first().is_some_and(|first| *first >= 0x80);
    let len = take_integer(bytes, 7)?;
    if len > max || len > bytes.len() {
        return Err(BadBlock);
    }
    let (text, rest) = bytes.split_at(len);
    *bytes = rest;
    let text = if is_encoded { huffman::decode(text, max).ok_or(BadBlock)? } else { text.to_vec() };
    Ok(String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7541 appendix C.4: three requests on one connection, with Huffman coding.
    #[test]
    fn the_requests_of_the_rfc_are_read() {
        let mut decoder = Decoder::new(4096, 10_000);
        let first = decoder.decode(&hex("828684418cf1e3c2e5f23a6ba0ab90f4ff")).unwrap();
        assert_eq!(first.last().unwrap(), &field(":authority", "www.example.com"));
        let second = decoder.decode(&hex("828684be5886a8eb10649cbf")).unwrap();
        assert_eq!(second[3..], [field(":authority", "www.example.com"), field("cache-control", "no-cache")]);
        let third = decoder.decode(&hex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")).unwrap();
        assert_eq!(third.last().unwrap(), &field("custom-key", "custom-value"));
        assert_eq!(decoder.table.size, 164);
    }

    /// RFC 7541 appendix C.6: a table of 256 bytes makes the oldest entries go.
    #[test]
    fn the_answers_of_the_rfc_are_read_with_a_small_table() {
        let mut decoder = Decoder::new(256, 10_000);
        decoder
            .decode(&hex(concat!(
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad1718",
                "63c78f0b97c8e9ae82ae43d3"
            )))
            .unwrap();
        assert_eq!(decoder.table.size, 222);
        let second = decoder.decode(&hex("4883640effc1c0bf")).unwrap();
        assert_eq!(second[0], field(":status", "307"));
        assert_eq!(decoder.table.size, 222);
    }

    #[test]
    fn a_table_larger_than_allowed_or_an_index_out_of_it_is_refused() {
        for bad in ["be", "80", "3fe21f", "ffffffffff7f", "40", "4003616263", "7f8080808001"] {
            assert_eq!(Decoder::new(4096, 10_000).decode(&hex(bad)), Err(BadBlock), "{bad}");
        }
    }

    /// A small block of many references to one long entry must not grow without bound.
    #[test]
    fn a_list_longer_than_was_told_is_refused() {
        let mut block = Vec::new();
        Encoder::new().encode([("x", "y".repeat(3000).as_str())], &mut block);
        block.extend([0xbe; 1000]);
        assert_eq!(Decoder::new(4096, 262_144).decode(&block), Err(BadBlock));
    }

    #[test]
    fn a_smaller_table_is_announced_once_and_both_ends_agree() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096, 10_000));
        for size in [4096, 100, 0, 65_536 * 2] {
            encoder.allow_table(size);
            for _ in 0..3 {
                let mut block = Vec::new();
                encoder.encode([("name", "a value")], &mut block);
                if size <= 4096 {
                    assert_eq!(decoder.decode(&block).unwrap(), [field("name", "a value")]);
                }
            }
        }
        assert_eq!(encoder.table.max, MAX_ENCODER_TABLE);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(lists in prop::collection::vec(
            prop::collection::vec(("[a-z-]{1,20}", "[ -~]{0,300}"), 0..20), 1..5)
        ) {
            let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096, 100_000));
            for list in lists {
                let mut block = Vec::new();
                encoder.encode(list.iter().map(|(name, value)| (name.as_str(), value.as_str())), &mut block);
                let got = decoder.decode(&block).unwrap();
                prop_assert_eq!(got, list.iter().map(|(name, value)| field(name, value)).collect::<Vec<_>>());
                prop_assert!(encoder.table.size <= 4096 && encoder.table.size == decoder.table.size);
            }
        }

        #[test]
        fn noise_is_survived(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(4096, 10_000);
            let list = decoder.decode(&block);
            prop_assert!(list.is_err() || decoder.table.size <= 4096);
        }
    }

    fn field(name: &str, value: &str) -> Field {
        Field { name: name.into(), value: value.into() }
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
