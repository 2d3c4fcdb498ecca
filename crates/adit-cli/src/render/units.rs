//! Numbers as people read them: bytes, rates, ages.

/// Bytes, in powers of 1024, as `wg show` gives them.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let power = ((n.ilog2() / 10) as usize).min(UNITS.len() - 1);
    let unit = UNITS.get(power).copied().unwrap_or("B");
    format!("{:.2} {unit}", n as f64 / 1024_f64.powi(power as i32))
}

/// A rate, in bits as networks are measured.
pub(crate) fn bits_per_second(bytes_per_second: f64) -> String {
    const UNITS: [&str; 4] = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
    let mut value = bytes_per_second * 8.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("bit/s");
    if unit == 0 { format!("{value:.0} {name}") } else { format!("{value:.2} {name}") }
}

/// A length of time in its two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")];
    let shown: Vec<_> = parts.iter().skip_while(|(n, _)| *n == 0).take(2).filter(|(n, _)| *n > 0).collect();
    match shown.as_slice() {
        [] => "0 s".to_owned(),
        parts => parts.iter().map(|(n, unit)| format!("{n} {unit}")).collect::<Vec<_>>().join(" "),
    }
}

/// How long ago; `never` for nothing, whatever the clock says.
pub(crate) fn ago(seconds: Option<u64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(0) => "now".to_owned(),
        Some(n) => format!("{} ago", duration(n)),
    }
}

/// How soon.
pub(crate) fn until(milliseconds: u64) -> String {
    match milliseconds {
        0 => "now".to_owned(),
        ms if ms < 1000 => format!("in {ms} ms"),
        ms => format!("in {}", duration(ms / 1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit() {
        let shown = [0, 1023, 1024, 1_572_864, 5 << 40, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.00 KiB", "1.50 MiB", "5.00 TiB", "16777216.00 TiB"]);
    }

    #[test]
    fn rates_are_bits() {
        let shown = [0.0, 10.0, 125.0, 1.5e6, 1e9, 1e13].map(bits_per_second);
        assert_eq!(shown, ["0 bit/s", "80 bit/s", "1.00 kbit/s", "12.00 Mbit/s", "8.00 Gbit/s", "80000.00 Gbit/s"]);
    }

    #[test]
    fn times_are_ages_a_person_would_say() {
        let shown = [None, Some(0), Some(12), Some(60), Some(75), Some(3600), Some(90_061)].map(ago);
        assert_eq!(shown, ["never", "now", "12 s ago", "1 min ago", "1 min 15 s ago", "1 h ago", "1 d 1 h ago"]);
        assert_eq!([0, 250, 4_999].map(until), ["now", "in 250 ms", "in 4 s"]);
    }
}
