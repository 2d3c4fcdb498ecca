//! The pseudo-random function of TLS 1.0 (RFC 2246 §5), which OpenVPN derives its keys with where TLS exports none.

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use aws_lc_rs::hmac;
use md5::Md5;
use zeroize::Zeroizing;

/// Fills `out`: two streams, one of HMAC-MD5 and one of HMAC-SHA-1, each under half of the secret, one XORed to the other.
pub(crate) fn tls1_prf(secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let half = secret.len().div_ceil(2);
    let first = secret.get(..half).unwrap_or_default();
    let second = secret.get(secret.len() - half..).unwrap_or_default();
    out.fill(0);
    expand(|pieces| hmac_md5_of(first, pieces), seed, out);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, second);
    expand(|pieces| hmac_sha1_of(&key, pieces), seed, out);
}

/// `P_hash` of RFC 2246, XORed to `out`.
fn expand(mac: impl Fn(&[&[u8]]) -> Zeroizing<Vec<u8>>, seed: &[&[u8]], out: &mut [u8]) {
    let mut a = mac(seed);
    let mut rest = out;
    while !rest.is_empty() {
        let pieces: Vec<&[u8]> = std::iter::once(a.as_slice()).chain(seed.iter().copied()).collect();
        let block = mac(&pieces);
        let (now, later) = rest.split_at_mut(rest.len().min(block.len()));
        now.iter_mut().zip(block.iter()).for_each(|(byte, with)| *byte ^= with);
        rest = later;
        a = mac(&[&a]);
    }
}

fn hmac_md5_of(key: &[u8], pieces: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("a key");
    pieces.iter().for_each(|piece| mac.update(piece));
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

fn hmac_sha1_of(key: &hmac::Key, pieces: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut context = hmac::Context::with_key(key);
    pieces.iter().for_each(|piece| context.update(piece));
    Zeroizing::new(context.sign().as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    #[test]
    fn it_gives_what_openvpns_own_test_expects() {
        let secret =
            b"Lorem ipsum dolor sit amet, consectetur adipisici elit, sed eiusmod tempor incidunt ut labore et \
                       dolore magna aliqua.";
        let seed = b"Quis aute iure reprehenderit in voluptate velit esse cillum dolore";
        let expected = hex("d98c8518c85e946927916acfc2d592fbb1567e4b4b1459e6a904ac2ddab72d67");
        let mut out = [0; 32];
        tls1_prf(secret, &[seed], &mut out);
        assert_eq!(out.to_vec(), expected);
        let (one, two) = seed.split_at(10);
        let mut out = [7; 5];
        tls1_prf(secret, &[one, two], &mut out);
        assert_eq!(out.to_vec(), expected[..5], "the seed in pieces, less of it wanted");
    }
}
