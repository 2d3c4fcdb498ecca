//! The axes of the matrix, their values, and which may not stand together.
//!
//! Not here: what a value means in a file (`files`), what is done in a row (`matrix`).

use super::pairs::{Partial, covering};

/// An axis: values by number.
trait Axis: Copy + 'static {
    const ALL: &'static [Self];
}

macro_rules! axes {
    ($($(#[$doc:meta])* $axis:ident $field:ident { $($(#[$of:meta])* $value:ident),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub(super) enum $axis { $($(#[$of])* $value),+ }

            impl Axis for $axis {
                const ALL: &'static [Self] = &[$(Self::$value),+];
            }
        )+

        /// A cell of the matrix: a value of each axis.
        #[derive(Debug, Clone, Copy)]
        pub(super) struct Row { $(pub(super) $field: $axis),+ }

        /// The same, as far as it is known.
        struct Known { $($field: Option<$axis>),+ }

        const AXES: &[usize] = &[$($axis::ALL.len()),+];

        impl Known {
            fn of(row: &Partial) -> Self {
                let mut values = row.iter().copied();
                Self { $($field: values.next().flatten().map(|value| $axis::ALL[value])),+ }
            }

            fn whole(self) -> Row {
                Row { $($field: self.$field.unwrap()),+ }
            }
        }
    };
}

axes! {
    /// Which ends are adit's; the others are Debian's `openvpn`.
    Ours ours { Client, Server, Both }
    /// The envelope of control packets. `tls-auth` has the digest of the row.
    Wrap wrap { Plain, AuthDirected, Auth, Crypt, CryptV2, CryptV2Forced, CryptV2Lenient }
    /// What both ends offer, or the server likes best.
    Cipher cipher { Aes128Gcm, Aes192Gcm, Aes256Gcm, ChaCha20, Aes128Cbc, Aes256Cbc, ServersChoice }
    /// `auth`.
    Digest digest { Sha1, Sha256, Sha512 }
    Transport transport { Udp4, Udp6, UdpBoth, Tcp4, Tcp6 }
    /// What both ends may speak.
    Tls tls { Any, Only12, Only13 }
    Keys keys { P256, P384, Ed25519, Rsa2048, Rsa4096 }
    /// How the ends show who they are.
    Papers papers { Plain, Chain, LockedKey, Bundle, Fingerprint, RevocationList }
    Login login { Certificate, Password, Both, Token, Challenge }
    /// Who asks for new keys, every few seconds.
    Renewal renewal { Client, Server, BothEnds }
    Topology topology { Subnet, Net30, PointToPoint }
    /// Which versions of IP have addresses inside.
    Inside inside { V4, Dual }
    Framing framing { None, LzoNo, StubV2, StubPushed, Fragment, Mssfix, Mtu1280, Mtu9000 }
    /// What the server pushes, and what becomes of it.
    Push push { Short, Long, Filtered, NoPull }
    /// What happens on the way.
    Life life { Calm, ServerRestarts, ClientMoves }
    /// The network between them.
    Network network { Clean, Lossy, Narrow }
}

impl Transport {
    pub(super) const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Tcp6)
    }

    pub(super) const fn is_v6(self) -> bool {
        matches!(self, Self::Udp6 | Self::Tcp6)
    }
}

/// Whether two ends can be so. Each line has its reason.
fn allowed(row: &Partial) -> bool {
    let Known { ours, wrap, transport, login, papers, renewal, topology, framing, push, life, .. } = Known::of(row);
    let no = [
        // Datagrams are cut over UDP alone.
        framing == Some(Framing::Fragment) && transport.is_some_and(Transport::is_tcp),
        // A stream ends with the address that it came from.
        life == Some(Life::ClientMoves) && transport.is_some_and(Transport::is_tcp),
        // adit's server takes no clients that cannot prove their address.
        wrap == Some(Wrap::CryptV2Lenient) && matches!(ours, Some(Ours::Server | Ours::Both)),
        // adit's server leaves it to its clients for as long as a handshake may take.
        renewal == Some(Renewal::Server) && matches!(ours, Some(Ours::Server | Ours::Both)),
        // OpenVPN's client has it answered through its management interface.
        login == Some(Login::Challenge) && ours == Some(Ours::Server),
        // An answer is good once.
        login == Some(Login::Challenge) && life == Some(Life::ServerRestarts),
        // The way to the server's own address is a route that is pushed.
        topology == Some(Topology::Net30) && push == Some(Push::NoPull),
        // Without a certificate there is nothing to show.
        login == Some(Login::Password) && matches!(papers, Some(Papers::LockedKey | Papers::Bundle)),
        login == Some(Login::Challenge) && matches!(papers, Some(Papers::LockedKey | Papers::Bundle)),
    ];
    !no.contains(&true)
}

/// The rows.
pub(super) fn rows() -> Vec<Row> {
    let rows = covering(AXES, allowed);
    rows.into_iter().map(|row| Known::of(&row.into_iter().map(Some).collect::<Vec<_>>()).whole()).collect()
}
