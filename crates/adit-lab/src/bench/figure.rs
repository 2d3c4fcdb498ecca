//! What is measured: names, units, and which direction is better.

/// One figure of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Its key in the JSON.
    pub key: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// How exactly it is measured.
    pub meaning: &'static str,
}

const fn more(key: &'static str, title: &'static str, unit: &'static str, meaning: &'static str) -> Figure {
    Figure { key, title, unit, more_is_better: true, meaning }
}

const fn less(key: &'static str, title: &'static str, unit: &'static str, meaning: &'static str) -> Figure {
    Figure { key, title, unit, more_is_better: false, meaning }
}

/// All of them, in the order of the table.
pub const FIGURES: [Figure; 16] = [
    more("tcp1", "TCP, 1 stream", "Gb/s", "iperf3, one connection, what arrived"),
    more("tcp1_back", "TCP, 1 stream, back", "Gb/s", "the same, from the answering side"),
    more("tcp4", "TCP, 4 streams", "Gb/s", "iperf3, four connections, what arrived"),
    more("tcp4_back", "TCP, 4 streams, back", "Gb/s", "the same, from the answering side"),
    less(
        "cpu",
        "CPU per GB",
        "s",
        "processor time of both ends during the first figure, for each 10⁹ bytes that arrived",
    ),
    more(
        "udp64",
        "UDP, 64 bytes",
        "kpps",
        "one thread of sendmmsg without GSO; packets that reached the far UDP socket",
    ),
    more("udp1392", "UDP, 1392 bytes", "kpps", "the same with packets of the tunnel's full size"),
    less(
        "ping",
        "ping, idle, median",
        "µs",
        "`ping -i 0.005` with nothing else going on, each end on a processor of its own, as two machines have",
    ),
    less("ping99", "ping, idle, p99", "µs", "the same, the slowest in a hundred"),
    less(
        "ping_free",
        "ping, idle, unpinned, median",
        "µs",
        "the same with both ends wherever the scheduler puts them, the first measurement of the round",
    ),
    less("ping_loaded", "ping, loaded, median", "µs", "`ping -i 0.02` during the first figure"),
    less(
        "connect",
        "connect",
        "ms",
        "from the start of the client's program until its first echo, the server being there",
    ),
    less(
        "rss",
        "memory, idle",
        "MB",
        "resident memory of the answering end after start, each of its processes counted whole",
    ),
    less(
        "rss_loaded",
        "memory, peak under load",
        "MB",
        "the most that either end ever had in this round (VmHWM), each of its processes counted whole",
    ),
    less(
        "rss_peers",
        "memory, 1 000 peers",
        "MB",
        "resident memory of a fresh daemon after one `wg setconf` of 1 000 peers",
    ),
    more(
        "handshakes",
        "handshakes",
        "1/s",
        "responses a second to prepared initiations of 1 000 peers, 16 under way at once, so that nobody is under load",
    ),
];
