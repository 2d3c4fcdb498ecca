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

pub(crate) use for_each_pairing;

pub(crate) fn adit_calls_wireguard_go() -> Pairing {
    Pairing { caller: Subject::adit(), answerer: Subject::wireguard_go() }
}

pub(crate) fn wireguard_go_calls_adit() -> Pairing {
    Pairing { caller: Subject::wireguard_go(), answerer: Subject::adit() }
}

pub(crate) fn adit_calls_adit() -> Pairing {
    Pairing { caller: Subject::adit(), answerer: Subject::adit() }
}
