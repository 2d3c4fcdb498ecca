//! How much a row of bursts looks like a TLS handshake inside the tunnel: the distance that DPI engines compute.
//!
//! Not here: what is measured with it (`world`).

/// One kind of handshake as a detector knows it: the sizes of the four bursts, client first.
struct Model {
    /// Published means.
    mean: [f64; 4],
    /// Published: below this distance it is a handshake.
    threshold: f64,
    /// The hello has at least this size.
    first_at_least: f64,
}

/// Chromium with a post-quantum key; TLS 1.3; TLS 1.2.
const MODELS: [Model; 3] = [
    Model { mean: [1_850.0, 4_903.0, 785.0, 1_051.0], threshold: 3.0, first_at_least: 517.0 },
    Model { mean: [641.0, 4_649.0, 448.0, 1_094.0], threshold: 3.0, first_at_least: 517.0 },
    Model { mean: [213.0, 4_515.0, 108.0, 308.0], threshold: 3.5, first_at_least: 0.0 },
];

/// How far bursts spread about their means, as a share of the mean. Ours, for the published rule's own covariance is not
/// at hand: wide, so that more is taken for a handshake than the rule would, not less.
const SPREAD: [f64; 4] = [0.25, 0.4, 0.6, 0.6];

/// The smallest distance of any four bursts in a row that begin with the client's, as a multiple of the threshold: below
/// one, a detector calls it a handshake.
///
/// `bursts` alternate and begin with the client's.
pub(super) fn nearest(bursts: &[usize]) -> f64 {
    bursts.windows(4).step_by(2).map(distance).fold(f64::INFINITY, f64::min)
}

fn distance(bursts: &[usize]) -> f64 {
    let to = |model: &Model| {
        if (bursts[0] as f64) < model.first_at_least {
            return f64::INFINITY;
        }
        let terms = bursts.iter().zip(model.mean).zip(SPREAD).map(|((&size, mean), spread)| {
            let off = (size as f64 - mean) / (mean * spread);
            off * off
        });
        terms.sum::<f64>().sqrt() / model.threshold
    };
    MODELS.iter().map(to).fold(f64::INFINITY, f64::min)
}

#[test]
fn a_bare_handshake_is_near_and_a_download_is_far() {
    assert!(nearest(&[1_900, 5_100, 700, 900]) < 0.5);
    assert!(nearest(&[600, 4_000, 400, 1_200]) < 0.5);
    assert!(nearest(&[230, 4_600, 120, 300]) < 0.5);
    assert!(nearest(&[400, 120_000, 60, 90_000]) > 3.0);
    assert!(nearest(&[1_900, 5_100]).is_infinite(), "two bursts are no handshake");
}
