//! Tokens in place of passwords (`auth-gen-token`): made by us after a login, and shown by the client ever after.
//!
//! Nothing is kept of them: a token says for whom and when it was made, under a key that only we have. Not here: when a client is
//! given one (`admission`).

use std::time::Duration;

use adit_openvpn::options::{Material, ServerConfig};
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

/// What tokens begin with, and no password should.
const PREFIX: &str = "SESS_ID_AT_";
/// When it was made first and last, in seconds since 1970, and the MAC.
const LENGTH: usize = 8 + 8 + 32;
/// Renewals of keys come a little later than they are due.
const LATE: Duration = Duration::from_secs(120);

/// Makes tokens, and knows them again.
#[derive(Debug)]
pub(super) struct Tokens {
    key: hmac::Key,
    /// All in all; `None`: for ever.
    lifetime: Option<Duration>,
    /// Without being made anew; `None`: for ever.
    renewal: Option<Duration>,
}

/// Whose token it is: shown with another user or certificate it is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bearer<'a> {
    /// The user; whoever has none is given no token, for it would be everybody's.
    pub(super) user: &'a str,
    /// SHA-256 of the certificate.
    pub(super) certificate: Option<[u8; 32]>,
}

/// What a password turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// No token at all.
    Password,
    /// A token of this user, and of this certificate, that was made first at this time.
    Good {
        /// Since 1970.
        made: Duration,
    },
    /// A token that is too old, or none of ours.
    Over,
}

impl Tokens {
    /// Those of a configuration, if it has them. `random`: a key for the case that it names none.
    pub(super) fn of(config: &ServerConfig, random: &[u8; 32]) -> Option<Self> {
        let options = config.server.tokens.as_ref()?;
        let key = match &config.server.token_secret {
            Some(Material::Inline(text)) => hmac::Key::new(hmac::HMAC_SHA256, text.expose().trim().as_bytes()),
            Some(Material::File(_)) | None => hmac::Key::new(hmac::HMAC_SHA256, random),
        };
        let said = |time: Duration| Some(time).filter(|time| !time.is_zero());
        let rekeying = config.common.rekeying.after.unwrap_or(adit_openvpn::Times::default().renegotiate);
        // One renewal may be missed.
        let renewal = options.renewal.map_or_else(|| said(rekeying * 2), said);
        Some(Self { key, lifetime: said(options.lifetime), renewal: renewal.map(|time| time + LATE) })
    }

    /// A token for this client. `made`: when the first of its line was made.
    pub(super) fn make(&self, whose: Bearer<'_>, made: Duration, now: Duration) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.extend(made.as_secs().to_be_bytes());
        bytes.extend(now.as_secs().to_be_bytes());
        let tag = hmac::sign(&self.key, &said(&bytes, whose));
        bytes.extend(tag.as_ref());
        Zeroizing::new(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    /// What a password is.
    pub(super) fn check(&self, whose: Bearer<'_>, password: &str, now: Duration) -> Checked {
        let Some(encoded) = password.strip_prefix(PREFIX) else { return Checked::Password };
        self.times(whose, encoded).map_or(Checked::Over, |(made, renewed)| {
            let is_young = |since: Duration, longest: Option<Duration>| longest.is_none_or(|most| now < since + most);
            if is_young(made, self.lifetime) && is_young(renewed, self.renewal) {
                Checked::Good { made }
            } else {
                Checked::Over
            }
        })
    }

    /// When a token was made first and last, if it is one of ours for this client.
    fn times(&self, whose: Bearer<'_>, encoded: &str) -> Option<(Duration, Duration)> {
        if encoded.len() != BASE64URL_NOPAD.encode_len(LENGTH) {
            return None;
        }
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
        let (times, tag) = bytes.split_at_checked(16)?;
        hmac::verify(&self.key, &said(times, whose), tag).ok()?;
        let (made, renewed) = times.split_first_chunk::<8>()?;
        let renewed = <[u8; 8]>::try_from(renewed).ok()?;
        let time = |bytes: [u8; 8]| Duration::from_secs(u64::from_be_bytes(bytes));
        Some((time(*made), time(renewed)))
    }
}

/// What is signed: the times and the hash have fixed lengths, so the user begins where they end.
fn said(times: &[u8], whose: Bearer<'_>) -> Vec<u8> {
    let (kind, certificate) = match whose.certificate {
        Some(hash) => ([1], hash),
        None => ([0], [0; 32]),
    };
    [b"adit auth-token 2".as_slice(), times, &kind, &certificate, whose.user.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openvpn::server::testing::config;

    fn tokens(line: &str, random: u8) -> Tokens {
        let lines = format!(
            "server 10.8.0.0 255.255.255.0\nscript-security 2\nauth-user-pass-verify /bin/x via-file\n{line}\n"
        );
        Tokens::of(&config(&lines), &[random; 32]).unwrap()
    }

    const ALICE: Bearer<'static> = Bearer { user: "alice", certificate: None };
    const BOB: Bearer<'static> = Bearer { user: "bob", certificate: None };

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_good_for_its_user_and_its_time() {
        let tokens = tokens("auth-gen-token 1000 300", 1);
        let token = tokens.make(ALICE, at(5000), at(5000));
        assert!(token.is_ascii() && !token.contains([',', ' ', '"']));
        assert_eq!(tokens.check(ALICE, &token, at(5100)), Checked::Good { made: at(5000) });
        assert_eq!(tokens.check(BOB, &token, at(5100)), Checked::Over);
        assert_eq!(tokens.check(ALICE, &token, at(5420)), Checked::Over, "it was not renewed");
        let renewed = tokens.make(ALICE, at(5000), at(5900));
        assert_eq!(tokens.check(ALICE, &renewed, at(5999)), Checked::Good { made: at(5000) });
        assert_eq!(tokens.check(ALICE, &renewed, at(6000)), Checked::Over, "its line has an end");
        assert_eq!(tokens.check(ALICE, "open sesame", at(5100)), Checked::Password);
    }

    #[test]
    fn a_token_is_good_with_the_certificate_that_it_was_made_for() {
        let tokens = tokens("auth-gen-token", 1);
        let with = |certificate| Bearer { certificate, ..ALICE };
        let all = [None, Some([0; 32]), Some([1; 32]), Some([2; 32])];
        for made_for in all {
            let token = tokens.make(with(made_for), at(5000), at(5000));
            for shown_with in all {
                let is_good = matches!(tokens.check(with(shown_with), &token, at(5000)), Checked::Good { .. });
                assert_eq!(is_good, made_for == shown_with, "{made_for:?} {shown_with:?}");
            }
        }
    }

    #[test]
    fn a_token_with_any_letter_changed_is_none() {
        let tokens = tokens("auth-gen-token", 1);
        let token = tokens.make(ALICE, at(5000), at(5000));
        for n in PREFIX.len()..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[n] = if changed[n] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(tokens.check(ALICE, &changed, at(5000)), Checked::Over, "{n}");
        }
        for other in [&token[..token.len() - 1], PREFIX, &format!("{}A", *token)] {
            assert_eq!(tokens.check(ALICE, other, at(5000)), Checked::Over);
        }
    }

    #[test]
    fn a_key_of_the_file_outlives_a_restart_and_another_does_not() {
        let line = "auth-gen-token\n<auth-gen-token-secret>\nsecret\n</auth-gen-token-secret>";
        let token = tokens(line, 1).make(ALICE, at(5000), at(5000));
        assert_eq!(tokens(line, 2).check(ALICE, &token, at(5000)), Checked::Good { made: at(5000) });
        let token = tokens("auth-gen-token", 1).make(ALICE, at(5000), at(5000));
        assert_eq!(tokens("auth-gen-token", 2).check(ALICE, &token, at(5000)), Checked::Over);
        assert_eq!(tokens("auth-gen-token", 1).check(ALICE, &token, at(5000 + 86_400)), Checked::Over);
    }
}
