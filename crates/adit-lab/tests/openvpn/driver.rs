//! Drives a core over one UDP socket, as plainly as can be.

use std::net::UdpSocket;
use std::time::{Duration, Instant, SystemTime};

use adit_lab::poll::PATIENCE;
use adit_openvpn::{OpenJob, SealJob};
use adit_protocol::{Delivery, Inbound, IpPacket, Now, Open, Opening, Outbound, Output, Path, Protocol, Seal, Sealing};

/// A core, its socket, and what came out of it.
pub(crate) struct Driver<P: Protocol<Seal = SealJob, Open = OpenJob>> {
    pub(crate) core: P,
    pub(crate) socket: UdpSocket,
    /// Events not yet looked at.
    pub(crate) events: Vec<P::Event>,
    /// Inner packets not yet looked at.
    pub(crate) packets: Vec<Vec<u8>>,
    /// Bytes of the longest datagram with an inner packet, or a piece of one, that came and that went.
    pub(crate) longest: (usize, usize),
}

pub(crate) fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Now { instant: Instant::now(), unix }
}

impl<P: Protocol<Seal = SealJob, Open = OpenJob>> Driver<P> {
    pub(crate) fn new(core: P, socket: UdpSocket) -> Self {
        Self { core, socket, events: Vec::new(), packets: Vec::new(), longest: (0, 0) }
    }

    /// Goes on until `look` finds what it looks for.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain: {what}; {:?}", self.core.drops());
            self.turn();
        }
    }

    /// Sends one inner packet.
    pub(crate) fn send(&mut self, packet: &[u8]) {
        let packet = IpPacket::parse(packet).unwrap();
        if let Outbound::Seal { job, to } = self.core.plan_outbound(now(), &packet) {
            self.seal(job, to, Some(&packet));
        }
    }

    /// Does what there is to do; then waits a little for a datagram.
    pub(crate) fn turn(&mut self) {
        let wait = self.drain();
        self.socket.set_read_timeout(Some(wait.clamp(Duration::from_millis(1), Duration::from_millis(50)))).unwrap();
        let mut datagram = vec![0; 65_536];
        match self.socket.recv_from(&mut datagram) {
            Ok((len, from)) => {
                datagram.truncate(len);
                self.receive(Path::to(from), &mut datagram);
            }
            Err(_) => self.core.handle_timeout(now()),
        }
    }

    fn receive(&mut self, from: Path, datagram: &mut [u8]) {
        let Inbound::Open(job) = self.core.plan_inbound(now(), from, datagram) else { return };
        self.longest.0 = self.longest.0.max(datagram.len());
        let mut batch = [Opening::new(job, datagram)];
        OpenJob::open_batch(&mut batch);
        let [opening] = batch;
        let (outcome, datagram) = (opening.outcome, opening.datagram);
        let Some(opened) = outcome else { return };
        if let Delivery::Packet(range) = self.core.commit_inbound(now(), opened, datagram) {
            self.packets.push(datagram[range].to_vec());
        }
    }

    fn drain(&mut self) -> Duration {
        while let Some(packet) = self.core.poll_inside(now()) {
            self.packets.push(packet.to_vec());
        }
        loop {
            match self.core.poll_output(now()) {
                Output::Transmit { to, datagram, .. } => {
                    self.socket.send_to(&datagram, to.remote).ok();
                }
                Output::Seal { job, to, packet } => self.seal(job, to, IpPacket::parse(&packet).as_ref()),
                Output::Event(event) => self.events.push(event),
                Output::Timeout(None, _) => return Duration::MAX,
                Output::Timeout(Some(at), _) => return at.saturating_duration_since(Instant::now()),
            }
        }
    }

    fn seal(&mut self, job: SealJob, to: Path, packet: Option<&IpPacket<'_>>) {
        let mut datagram = vec![0; job.wire_len(packet.map_or(0, IpPacket::len))];
        job.lay_out(packet, &mut datagram);
        SealJob::seal_batch(&mut [Sealing { job, datagram: &mut datagram }]);
        self.longest.1 = self.longest.1.max(datagram.len());
        self.socket.send_to(&datagram, to.remote).ok();
    }
}
