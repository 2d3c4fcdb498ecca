//! Who plays with whom: every story is a test for each pairing.

use adit_lab::subjects::Subject;
use adit_lab::tunnel::Pairing;

/// Makes each function `story(&Pairing)` three tests, one for each pairing.
macro_rules! for_each_pairing {
    ($($story:ident),+ $(,)?) => {
        $(mod $story {
            #[test]
            fn adit_calls_wireguard_go() {
                super::$story(&$crate::pairings::adit_calls_wireguard_go());
            }

            #[test]
            fn wireguard_go_calls_adit() {
                super::$story(&$crate::pairings::wireguard_go_calls_adit());
            }

            #[test]
            fn adit_calls_adit() {
                super::$story(&$crate::pairings::adit_calls_adit());
            }
        })+
    };
}

/// Makes each function `story(&Pairing, Family)` six tests: for each pairing, over IPv4 and over IPv6.
macro_rules! for_each_pairing_and_family {
    ($($story:ident),+ $(,)?) => {
        $(mod $story {
            use adit_lab::ns::Family;
            use adit_lab::tunnel::Pairing;

            $crate::pairings::for_each_pairing!(over_ipv4, over_ipv6);

            fn over_ipv4(pairing: &Pairing) {
                super::$story(pairing, Family::V4);
            }

            fn over_ipv6(pairing: &Pairing) {
                super::$story(pairing, Family::V6);
            }
        })+
    };
}

pub(crate) use {for_each_pairing, for_each_pairing_and_family};

pub(crate) fn adit_calls_wireguard_go() -> Pairing {
    Pairing { caller: Subject::adit(), answerer: Subject::wireguard_go() }
}

pub(crate) fn wireguard_go_calls_adit() -> Pairing {
    Pairing { caller: Subject::wireguard_go(), answerer: Subject::adit() }
}

pub(crate) fn adit_calls_adit() -> Pairing {
    Pairing { caller: Subject::adit(), answerer: Subject::adit() }
}
