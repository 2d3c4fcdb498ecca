//! The token of a client whose TLS ends in somebody else's web server: bound to the time, and good once.
//!
//! Pure, and for both ends: minting, checking, and the memory of what was used. Not here: the TLS-bound scheme that is used
//! wherever our own server ends the TLS (`concealed`), and where the memory is kept on disk (`server`).

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;

use adit_protocol::Secret;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// Seconds by which a token's time may differ from the server's clock, either way.
pub const WINDOW: u64 = 60;
/// Bytes of randomness that make a token the only one of its kind.
pub const NONCE_LEN: usize = 16;
/// Used tokens that are remembered. They are forgotten after [`WINDOW`]; until then nobody more is admitted.
pub const MAX_REMEMBERED: usize = 65_536;

/// What the code covers before time and nonce, so that no other use of the secret can be taken for a token.
const LABEL: &[u8] = b"adit https token v1\0";
const TIME_LEN: usize = 8;
const MAC_LEN: usize = 32;
const TOKEN_LEN: usize = TIME_LEN + NONCE_LEN + MAC_LEN;
/// How a token is written in an `Authorization` header.
const SCHEME: &str = "bearer";
/// The pass over all users takes as long as one over the next multiple of this many.
const ROUND_UP_USERS: usize = 16;
/// Bytes of one remembered token, as written.
const RECORD_LEN: usize = TIME_LEN + NONCE_LEN;

/// A token as received: of the right form, not yet checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    time: u64,
    nonce: [u8; NONCE_LEN],
    mac: [u8; MAC_LEN],
}

/// The users a server knows by their secrets, made ready for checks that take the same time whoever asks.
#[derive(Clone)]
pub struct TokenKeys {
    /// A key for each user, and keys that nobody has for users without a secret and to round their number up.
    keys: Vec<hmac::Key>,
}

/// Tokens that were used, until their time has passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replays {
    seen: BTreeSet<(u64, [u8; NONCE_LEN])>,
    /// Everything before this time has been forgotten, and is refused.
    since: u64,
}

/// The value of an `Authorization` header with a token of this time (seconds since 1970) and nonce (fresh and random).
pub fn authorize(secret: &Secret<32>, now: u64, nonce: [u8; NONCE_LEN]) -> String {
    let mac = code(&hmac::Key::new(HMAC_SHA256, secret.expose()), now, &nonce);
    let mut token = [0; TOKEN_LEN];
    token[..TIME_LEN].copy_from_slice(&now.to_be_bytes());
    token[TIME_LEN..RECORD_LEN].copy_from_slice(&nonce);
    token[RECORD_LEN..].copy_from_slice(mac.as_ref());
    format!("Bearer {}", Base64UrlUnpadded::encode_string(&token))
}

impl Token {
    /// A token that proves nothing, checked in place of none, so that none takes as long as one.
    pub const OF_NOBODY: Self = Self { time: 0, nonce: [0; NONCE_LEN], mac: [0; MAC_LEN] };

    /// Reads the value of an `Authorization` header.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, text) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let mut bytes = [0; TOKEN_LEN];
        if Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len() != TOKEN_LEN {
            return None;
        }
        let (time, rest) = bytes.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        Some(Self { time: u64::from_be_bytes(*time), nonce: *nonce, mac: *rest.first_chunk()? })
    }
}

impl TokenKeys {
    /// The users by their secrets. Their numbers in answers are their places here; one without a secret is never admitted.
    pub fn new<'a>(users: impl IntoIterator<Item = Option<&'a Secret<32>>>) -> Self {
        let mut keys: Vec<_> = users.into_iter().map(|user| user.map_or_else(nobody, key)).collect();
        let rounded = keys.len().max(1).next_multiple_of(ROUND_UP_USERS);
        keys.resize_with(rounded, nobody);
        Self { keys }
    }

    /// Which user made this token, at a time near `now`. Looks at every user, whatever the answer. Ask [`Replays`] next.
    pub fn verify(&self, token: &Token, now: u64) -> Option<usize> {
        let (mut place, mut known) = (0_u64, Choice::from(0));
        for (at, key) in (0_u64..).zip(&self.keys) {
            let this = code(key, token.time, &token.nonce).as_ref().ct_eq(&token.mac);
            known |= this;
            place.conditional_assign(&at, this);
        }
        let timely = Choice::from(u8::from(token.time.abs_diff(now) <= WINDOW));
        if bool::from(known & timely) { usize::try_from(place).ok() } else { None }
    }
}

impl Replays {
    /// Notes that a verified token is used now. `false` if it was before, or if that cannot be known.
    pub fn use_once(&mut self, token: &Token, now: u64) -> bool {
        let since = now.saturating_sub(WINDOW);
        if since > self.since {
            self.since = since;
            self.seen = self.seen.split_off(&(since, [0; NONCE_LEN]));
        }
        token.time >= self.since && self.seen.len() < MAX_REMEMBERED && self.seen.insert((token.time, token.nonce))
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether this token has been used.
    pub fn knows(&self, token: &Token) -> bool {
        self.seen.range((Bound::Included((token.time, token.nonce)), Bound::Unbounded)).next()
            == Some(&(token.time, token.nonce))
    }

    /// Everything, as bytes to keep across a restart.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TIME_LEN + self.seen.len() * RECORD_LEN);
        out.extend_from_slice(&self.since.to_be_bytes());
        for (time, nonce) in &self.seen {
            out.extend_from_slice(&time.to_be_bytes());
            out.extend_from_slice(nonce);
        }
        out
    }

    /// One used token, as bytes to append to what [`emit`](Self::emit) gave.
    pub fn record(token: &Token) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        out[..TIME_LEN].copy_from_slice(&token.time.to_be_bytes());
        out[TIME_LEN..].copy_from_slice(&token.nonce);
        out
    }

    /// What was kept. A record cut short at the end, as a crash leaves it, is left out; `None` if it is not such bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (since, records) = bytes.split_first_chunk()?;
        if records.len() > MAX_REMEMBERED * RECORD_LEN {
            return None;
        }
        let seen = records.chunks_exact(RECORD_LEN).filter_map(|record| {
            let (time, nonce) = record.split_first_chunk()?;
            Some((u64::from_be_bytes(*time), nonce.try_into().ok()?))
        });
        Some(Self { seen: seen.collect(), since: u64::from_be_bytes(*since) })
    }

    /// The memory of a server that has none: everything from before `now` is refused, for it may have been used.
    pub fn lost(now: u64) -> Self {
        Self { seen: BTreeSet::new(), since: now }
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKeys(…)")
    }
}

fn code(key: &hmac::Key, time: u64, nonce: &[u8; NONCE_LEN]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(LABEL);
    context.update(&time.to_be_bytes());
    context.update(nonce);
    context.sign()
}

fn key(secret: &Secret<32>) -> hmac::Key {
    hmac::Key::new(HMAC_SHA256, secret.expose())
}

/// A key that nobody has.
fn nobody() -> hmac::Key {
    let mut secret = Secret::new([0; 32]);
    // Without randomness there are worse problems: then no connection has keys either.
    let _ = aws_lc_rs::rand::fill(secret.expose_mut());
    key(&secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn what_a_client_mints_a_server_knows_as_that_user() {
        for user in 0..3 {
            assert_eq!(keys().verify(&token(user, NOW), NOW), Some(usize::from(user)));
        }
        assert_eq!(keys().verify(&token(7, NOW), NOW), None);
    }

    #[test]
    fn a_token_is_good_for_sixty_seconds_either_way() {
        for (now, good) in [(NOW - 61, false), (NOW - 60, true), (NOW + 60, true), (NOW + 61, false), (0, false)] {
            assert_eq!(keys().verify(&token(1, NOW), now).is_some(), good, "{now}");
        }
        assert_eq!(keys().verify(&token(1, u64::MAX), NOW), None);
    }

    #[test]
    fn one_flipped_bit_anywhere_admits_nobody() {
        let header = authorize(&secret(1), NOW, [5; NONCE_LEN]);
        for at in "Bearer ".len()..header.len() {
            for bit in 0..8 {
                let mut flipped = header.clone().into_bytes();
                flipped[at] ^= 1 << bit;
                let user = Token::parse(&flipped).and_then(|token| keys().verify(&token, NOW));
                assert_eq!(user, None, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn other_headers_are_not_tokens() {
        let good = authorize(&secret(1), NOW, [5; NONCE_LEN]);
        assert!(Token::parse(good.to_lowercase().replace(&good[7..].to_lowercase(), &good[7..]).as_bytes()).is_some());
        for bad in
            ["", "Bearer", "Bearer ", "Basic QQ", &good[..good.len() - 1], &format!("{good}A"), &format!("{good}=")]
        {
            assert_eq!(Token::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_user_without_a_secret_and_no_users_at_all_admit_nobody() {
        assert_eq!(TokenKeys::new([None]).verify(&token(1, NOW), NOW), None);
        assert_eq!(TokenKeys::new([]).verify(&token(1, NOW), NOW), None);
        assert_eq!(keys().verify(&Token::OF_NOBODY, 0), None);
        let zero = Token::parse(authorize(&Secret::new([0; 32]), NOW, [5; NONCE_LEN]).as_bytes()).unwrap();
        assert_eq!(TokenKeys::new([None]).verify(&zero, NOW), None);
    }

    /// The pass over the users is as long for none as for sixteen.
    #[test]
    fn the_number_of_users_shows_in_steps_only() {
        let lens = [0, 1, 16, 17].map(|n| TokenKeys::new((0..n).map(|_| None)).keys.len());
        assert_eq!(lens, [16, 16, 16, 32]);
    }

    #[test]
    fn a_token_is_good_once() {
        let mut replays = Replays::default();
        assert!(replays.use_once(&token(1, NOW), NOW));
        assert!(!replays.use_once(&token(1, NOW), NOW));
        assert!(!replays.use_once(&token(1, NOW), NOW + WINDOW));
        assert!(replays.knows(&token(1, NOW)) && !replays.knows(&token(1, NOW + 1)));
    }

    #[test]
    fn what_was_used_is_forgotten_only_when_it_is_too_old_to_be_used() {
        let mut replays = Replays::default();
        assert!(replays.use_once(&token(1, NOW), NOW));
        assert!(replays.use_once(&token(2, NOW + 61), NOW + 61));
        assert_eq!(replays.len(), 1);
        // Also if the clock is set back.
        assert!(!replays.use_once(&token(1, NOW), NOW));
    }

    #[test]
    fn a_full_memory_admits_nobody_until_time_has_passed() {
        let mut replays = Replays::default();
        for n in 0..MAX_REMEMBERED as u64 {
            assert!(replays.use_once(&numbered(n, NOW), NOW));
        }
        assert!(!replays.use_once(&numbered(1 << 40, NOW), NOW));
        assert_eq!(replays.len(), MAX_REMEMBERED);
        assert!(replays.use_once(&numbered(1 << 40, NOW + 61), NOW + 61));
        assert_eq!(replays.len(), 1);
    }

    #[test]
    fn the_memory_survives_a_restart_even_if_its_last_record_was_cut() {
        let mut replays = Replays::default();
        for n in 0..10 {
            assert!(replays.use_once(&numbered(n, NOW), NOW));
        }
        let mut kept = replays.emit();
        assert_eq!(Replays::parse(&kept).as_ref(), Some(&replays));
        kept.extend_from_slice(&Replays::record(&numbered(10, NOW)));
        kept.extend_from_slice(&[1; RECORD_LEN - 1]);
        let mut again = Replays::parse(&kept).unwrap();
        assert!(!again.use_once(&numbered(10, NOW), NOW + 1));
        assert!(again.use_once(&numbered(11, NOW), NOW + 1));
        assert_eq!(Replays::parse(&[1; 7]), None);
        assert_eq!(Replays::parse(&vec![1; TIME_LEN + (MAX_REMEMBERED + 1) * RECORD_LEN]), None);
    }

    #[test]
    fn a_lost_memory_refuses_what_may_have_been_used() {
        let mut replays = Replays::lost(NOW);
        assert!(!replays.use_once(&token(1, NOW - 1), NOW));
        assert!(replays.use_once(&token(1, NOW), NOW));
    }

    fn keys() -> TokenKeys {
        let secrets: Vec<_> = (0..3).map(secret).collect();
        TokenKeys::new(secrets.iter().map(Some))
    }

    fn secret(user: u8) -> Secret<32> {
        Secret::new([user + 1; 32])
    }

    fn token(user: u8, time: u64) -> Token {
        Token::parse(authorize(&secret(user), time, [user; NONCE_LEN]).as_bytes()).unwrap()
    }

    fn numbered(n: u64, time: u64) -> Token {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&n.to_be_bytes());
        Token { time, nonce, mac: [0; MAC_LEN] }
    }
}
