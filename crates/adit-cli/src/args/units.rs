//! Amounts as people write them: `20mbit`, `50GiB`, `off`.

/// Bits a second: a number with `bit`, `kbit`, `mbit` or `gbit`; 0 for `off`.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    amount(text, &[("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)]).ok_or_else(|| {
        format!("`{text}` is no rate: write a whole number with a unit, such as 20mbit or 500kbit, or `off`")
    })
}

/// Bytes: a number with `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`; 0 for `off`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
    ];
    amount(text, &UNITS).ok_or_else(|| {
        format!("`{text}` is no amount: write a whole number with a unit, such as 50GiB or 500MB, or `off`")
    })
}

fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    if lower == "off" {
        return Some(0);
    }
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?.trim_end(), factor)))?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse::<u64>().ok()?.checked_mul(*factor)).flatten().filter(|amount| *amount > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!((rate("20mbit"), rate("500 kbit"), rate("off")), (Ok(20_000_000), Ok(500_000), Ok(0)));
        assert_eq!((bytes("50GiB"), bytes("500MB"), bytes("7b")), (Ok(50 << 30), Ok(500_000_000), Ok(7)));
        for wrong in ["", "20", "mbit", "-1mbit", "1.5mbit", "0mbit", "99999999999999999999gbit", "20mib"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "5", "GiB", "0b", "5mbit", "99999999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
