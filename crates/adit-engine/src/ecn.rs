//! Congestion marks across the tunnel: outer from inner on the way out, combined on the way in (RFC 6040).

use adit_protocol::{Checksum, Ecn};

/// The pair of marks means that somebody on the way is broken: the packet must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contradiction;

/// What the inner packet's mark becomes when it arrives under this outer mark (RFC 6040 §4.2).
pub(crate) fn combine(outer: Ecn, inner: Ecn) -> Result<Ecn, Contradiction> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => Err(Contradiction),
        (Ecn::NotEct, _) => Ok(Ecn::NotEct),
        (_, Ecn::Ce) => Ok(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Ok(Ecn::Ect1),
        _ => Ok(inner),
    }
}

/// Combines the marks in the packet itself, which the caller has found to be whole.
pub(crate) fn decapsulate(outer: Ecn, packet: &mut [u8]) -> Result<(), Contradiction> {
    match packet {
        [first, tos, _, _, _, _, _, _, _, _, sum_high, sum_low, ..] if *first >> 4 == 4 => {
            let inner = Ecn::from_tos(*tos);
            let mark = combine(outer, inner)?;
            if mark != inner {
                let new = *tos & !3 | mark as u8;
                // RFC 1624: the new sum from the old one and the word that changed.
                let old_sum = u16::from_be_bytes([*sum_high, *sum_low]);
                let sum = Checksum::new()
                    .with_word(!old_sum)
                    .with_word(!u16::from_be_bytes([*first, *tos]))
                    .with_word(u16::from_be_bytes([*first, new]));
                [*sum_high, *sum_low] = sum.finish().to_be_bytes();
                *tos = new;
            }
            Ok(())
        }
        [first, second, ..] if *first >> 4 == 6 => {
            let inner = Ecn::from_tos(*second >> 4);
            let mark = combine(outer, inner)?;
            *second = *second & !0x30 | (mark as u8) << 4;
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6040 §4.2, figure 4.
    #[test]
    fn marks_combine_as_in_the_table() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let outer = [NotEct, Ect0, Ect1, Ce];
        let table = [
            (NotEct, [Ok(NotEct), Ok(NotEct), Ok(NotEct), Err(Contradiction)]),
            (Ect0, [Ok(Ect0), Ok(Ect0), Ok(Ect1), Ok(Ce)]),
            (Ect1, [Ok(Ect1), Ok(Ect1), Ok(Ect1), Ok(Ce)]),
            (Ce, [Ok(Ce), Ok(Ce), Ok(Ce), Ok(Ce)]),
        ];
        for (inner, row) in table {
            assert_eq!(outer.map(|o| combine(o, inner)), row, "inner {inner:?}");
        }
    }

    #[test]
    fn a_mark_put_into_ipv4_keeps_the_header_checksum_right() {
        for tos in [0x01, 0x02, 0x03, 0xb9, 0xfe] {
            for noise in [0u16, 1, 0x7fff, 0xfffe, 0xffff] {
                let mut p = [0x45, tos, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
                p[4..6].copy_from_slice(&noise.to_be_bytes());
                let sum = Checksum::new().with(&p).finish().to_be_bytes();
                p[10..12].copy_from_slice(&sum);
                decapsulate(Ecn::Ce, &mut p).unwrap();
                assert_eq!(p[1], tos | 3, "services bits stay");
                assert_eq!(Checksum::new().with(&p).finish(), 0);
            }
        }
    }

    #[test]
    fn a_mark_put_into_ipv6_leaves_class_and_flow_alone() {
        let mut p = [0u8; 40];
        p[..4].copy_from_slice(&[0x6b, 0xab, 0xcd, 0xef]);
        decapsulate(Ecn::Ce, &mut p).unwrap();
        assert_eq!(p[..4], [0x6b, 0xbb, 0xcd, 0xef]);
        p[1] = 0x8b;
        assert_eq!(decapsulate(Ecn::Ce, &mut p), Err(Contradiction));
    }
}
