//! The keys of the format: how they are spelled, where they belong, and which one a misspelled one was meant to be.

/// The sections: wg-quick's two, and adit's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Interface,
    Peer,
    Https,
}

impl Section {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Interface => "[Interface]",
            Self::Peer => "[Peer]",
            Self::Https => "[Https]",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Interface, Self::Peer, Self::Https].into_iter().find(|s| s.name().eq_ignore_ascii_case(text))
    }
}

macro_rules! keys {
    ($($name:ident $text:literal $section:ident,)*) => {
        /// A key of the format, with its value a field of a profile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Field { $($name,)* }

        impl Field {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// As the manuals spell it.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            pub(super) const fn section(self) -> Section {
                match self { $(Self::$name => Section::$section,)* }
            }
        }
    };
}

keys! {
    PrivateKey "PrivateKey" Interface,
    ListenPort "ListenPort" Interface,
    FwMark "FwMark" Interface,
    Address "Address" Interface,
    Dns "DNS" Interface,
    Mtu "MTU" Interface,
    Table "Table" Interface,
    PreUp "PreUp" Interface,
    PostUp "PostUp" Interface,
    PreDown "PreDown" Interface,
    PostDown "PostDown" Interface,
    SaveConfig "SaveConfig" Interface,
    PublicKey "PublicKey" Peer,
    PresharedKey "PresharedKey" Peer,
    AllowedIPs "AllowedIPs" Peer,
    Endpoint "Endpoint" Peer,
    Fallback "Fallback" Peer,
    PersistentKeepalive "PersistentKeepalive" Peer,
    Transport "Transport" Peer,
    HttpsUrl "HttpsUrl" Peer,
    HttpsAddress "HttpsAddress" Peer,
    HttpsPin "HttpsPin" Peer,
    HttpsRoots "HttpsRoots" Peer,
    HttpsHello "HttpsHello" Peer,
    HttpsPath "HttpsPath" Peer,
    HttpsShape "HttpsShape" Peer,
    HttpsMachine "HttpsMachine" Peer,
    HttpsKey "HttpsKey" Peer,
    Listen "Listen" Https,
    Site "Site" Https,
    SiteRoot "SiteRoot" Https,
    Certificate "Certificate" Https,
    CertificateKey "CertificateKey" Https,
    Acme "Acme" Https,
    AcmeDirectory "AcmeDirectory" Https,
    AcmeContact "AcmeContact" Https,
    AcmeRoot "AcmeRoot" Https,
    SelfSigned "SelfSigned" Https,
    Behind "Behind" Https,
    Shape "Shape" Https,
    Machine "Machine" Https,
}

impl Field {
    /// Which key this is, if any: case does not matter, nor does white space within (as `wg` reads it).
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name().eq_ignore_ascii_case(text))
    }

    /// The key that was probably meant by a text that is none.
    pub(super) fn meant_by(text: &str, section: Section) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text.len() > MAX_MISSPELLED {
            return None;
        }
        let known = KNOWN_MISTAKES.iter().find(|(wrong, _)| *wrong == text).map(|(_, key)| *key);
        let near = || {
            Self::ALL
                .iter()
                .map(|key| (distance(&text, &key.name().to_ascii_lowercase()), key.section() != section, *key))
                .min_by_key(|(distance, elsewhere, _)| (*distance, *elsewhere))
                .filter(|(distance, _, key)| *distance <= key.name().len().div_ceil(3))
                .map(|(_, _, key)| key)
        };
        known.or_else(near)
    }

    /// The key that says the same in another section.
    pub(super) fn twin(self, section: Section) -> Option<Self> {
        let pair = [(Self::Shape, Self::HttpsShape), (Self::Machine, Self::HttpsMachine)];
        let other = pair.into_iter().find_map(|(a, b)| if self == a { Some(b) } else { (self == b).then_some(a) });
        other.filter(|other| other.section() == section)
    }

    /// Whether the value is a secret, which no message repeats.
    pub(super) const fn is_secret(self) -> bool {
        matches!(self, Self::PrivateKey | Self::PresharedKey)
    }
}

/// Whether the key belongs to AmneziaWG's disguise, which a plain peer does not speak.
pub(super) fn is_amnezia(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let numbered = |prefix: char, most: u32| {
        text.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| (1..=most).contains(&n))
    };
    matches!(text.as_str(), "jc" | "jmin" | "jmax" | "itime")
        || numbered('s', 4)
        || numbered('h', 4)
        || numbered('i', 5)
}

/// Words of other programs for the same thing.
const KNOWN_MISTAKES: &[(&str, Field)] = &[
    ("psk", Field::PresharedKey),
    ("keepalive", Field::PersistentKeepalive),
    ("port", Field::ListenPort),
    ("mark", Field::FwMark),
    ("firewallmark", Field::FwMark),
    ("routes", Field::AllowedIPs),
    ("ip", Field::Address),
    ("ips", Field::AllowedIPs),
    ("nameserver", Field::Dns),
    ("up", Field::PostUp),
    ("down", Field::PreDown),
    ("url", Field::HttpsUrl),
    ("pin", Field::HttpsPin),
    ("key", Field::CertificateKey),
    ("cert", Field::Certificate),
    ("root", Field::Site),
    ("domain", Field::Acme),
];

/// A longer text is not a misspelled key; bounds the work of looking.
const MAX_MISSPELLED: usize = 40;

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("endpoit", "endpoint"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_misspelled_key_brings_the_nearest_one() {
        assert_eq!(Field::meant_by("AllowedIP", Section::Peer), Some(Field::AllowedIPs));
        assert_eq!(Field::meant_by("Adress", Section::Interface), Some(Field::Address));
        assert_eq!(Field::meant_by("PresharedKye", Section::Peer), Some(Field::PresharedKey));
        assert_eq!(Field::meant_by("psk", Section::Peer), Some(Field::PresharedKey));
        assert_eq!(Field::meant_by("Colour", Section::Peer), None);
    }
}
