//! The two hellos (RFC 8446 §4.1.2, §4.1.3; RFC 5246 §7.4.1) and the certificates of TLS 1.2 (RFC 5246 §7.4.2).
//!
//! Not here: fingerprints (`ja4`).

/// What a client offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Bytes of the message with its header.
    pub length: usize,
    /// The version field, which TLS 1.3 leaves at 1.2.
    pub legacy_version: u16,
    /// Cipher suites, in order.
    pub ciphers: Vec<u16>,
    /// Extensions in order, with their lengths.
    pub extensions: Vec<(u16, u16)>,
    /// The name of the server.
    pub server_name: Option<String>,
    /// Protocols of ALPN.
    pub alpn: Vec<Vec<u8>>,
    /// Versions.
    pub versions: Vec<u16>,
    /// Groups for the key exchange.
    pub groups: Vec<u16>,
    /// Groups that come with a key, and the key's length.
    pub key_shares: Vec<(u16, u16)>,
    /// Signature algorithms, in order.
    pub signatures: Vec<u16>,
}

/// What a server chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerHello {
    /// TLS 1.3 shows in an extension.
    pub version: u16,
    /// The cipher suite.
    pub cipher: u16,
    /// The group of its key; in a retry request the group it wants.
    pub group: Option<u16>,
    /// The protocol of ALPN; TLS 1.3 hides it.
    pub alpn: Option<Vec<u8>>,
    /// Extensions, in order.
    pub extensions: Vec<u16>,
    /// It asks for another hello.
    pub is_retry: bool,
}

/// TLS 1.3.
pub const TLS13: u16 = 0x0304;
/// The hybrid of ML-KEM-768 and X25519.
pub const X25519MLKEM768: u16 = 0x11ec;

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// RFC 8446 §4.1.3: the random of a retry request.
pub(super) const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

impl ClientHello {
    /// Parses the body of the message, without its header of four bytes.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut at = Cursor(body);
        let mut hello = Self { length: body.len() + 4, legacy_version: at.u16()?, ..Self::default() };
        at.take(32)?;
        at.short()?;
        hello.ciphers = at.long()?.u16s()?;
        at.short()?;
        if at.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = at.long()?;
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.long()?;
            hello.extensions.push((kind, u16::try_from(content.0.len()).ok()?));
            // One that cannot be read says nothing; that it is there counts all the same.
            let _unreadable = hello.read_extension(kind, content);
        }
        Some(hello)
    }

    fn read_extension(&mut self, kind: u16, mut content: Cursor<'_>) -> Option<()> {
        match kind {
            SERVER_NAME => {
                let mut names = content.long()?;
                let host_name = names.u8()? == 0;
                let name = names.long()?.0;
                self.server_name = host_name.then(|| String::from_utf8_lossy(name).into_owned());
            }
            SUPPORTED_GROUPS => self.groups = content.long()?.u16s()?,
            SIGNATURE_ALGORITHMS => self.signatures = content.long()?.u16s()?,
            ALPN => {
                let mut names = content.long()?;
                while !names.0.is_empty() {
                    self.alpn.push(names.short()?.0.to_vec());
                }
            }
            SUPPORTED_VERSIONS => self.versions = content.short()?.u16s()?,
            KEY_SHARE => {
                let mut shares = content.long()?;
                while !shares.0.is_empty() {
                    let group = shares.u16()?;
                    self.key_shares.push((group, u16::try_from(shares.long()?.0.len()).ok()?));
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The highest version it offers.
    pub fn version(&self) -> u16 {
        let offered = self.versions.iter().copied().filter(|version| !is_grease(*version));
        offered.max().unwrap_or(self.legacy_version)
    }
}

impl ServerHello {
    /// Parses the body of the message, without its header of four bytes.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut at = Cursor(body);
        let mut hello = Self { version: at.u16()?, ..Self::default() };
        hello.is_retry = at.take(32)? == RETRY;
        at.short()?;
        hello.cipher = at.u16()?;
        at.u8()?;
        if at.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = at.long()?;
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let mut content = extensions.long()?;
            hello.extensions.push(kind);
            match kind {
                SUPPORTED_VERSIONS => hello.version = content.u16()?,
                KEY_SHARE => hello.group = Some(content.u16()?),
                ALPN => hello.alpn = Some(content.long()?.short()?.0.to_vec()),
                _ => {}
            }
        }
        Some(hello)
    }
}

/// The certificates of a TLS 1.2 message, in DER.
pub(super) fn certificates(body: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let Some(mut list) = Cursor(body).longer() else { return found };
    while found.len() < MAX_CERTIFICATES
        && let Some(certificate) = list.longer()
    {
        found.push(certificate.0.to_vec());
    }
    found
}

/// Certificates of a chain that are kept.
const MAX_CERTIFICATES: usize = 8;

/// RFC 8701: values that mean nothing, so that nobody comes to depend on there being none.
pub(crate) const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector with one byte of length.
    fn short(&mut self) -> Option<Self> {
        let n = self.u8()?;
        self.take(n.into()).map(Self)
    }

    /// A vector with two bytes of length.
    fn long(&mut self) -> Option<Self> {
        let n = self.u16()?;
        self.take(n.into()).map(Self)
    }

    /// A vector with three bytes of length.
    fn longer(&mut self) -> Option<Self> {
        let n = self.take(3)?;
        self.take(usize::from(n[0]) << 16 | usize::from(n[1]) << 8 | usize::from(n[2])).map(Self)
    }

    fn u16s(self) -> Option<Vec<u16>> {
        let (pairs, rest) = self.0.as_chunks::<2>();
        rest.is_empty().then(|| pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
    }
}
