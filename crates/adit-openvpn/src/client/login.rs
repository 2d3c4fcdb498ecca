//! What a client shows a server: its name and password, or the token that the server gave in their place.
//!
//! Not here: what a refusal means for the session (`control`).

use base64ct::{Base64, Encoding as _};

use super::AuthFailure;
use crate::push::Pushed;
use crate::session::Credentials;

/// Name and password, and the token that stands in their place until the server refuses it.
#[derive(Debug, Default)]
pub(super) struct Login {
    own: Credentials,
    token: Option<Credentials>,
}

impl Login {
    pub(super) const fn new(own: Credentials) -> Self {
        Self { own, token: None }
    }

    /// What is shown at the next key exchange.
    pub(super) fn shown(&self) -> &Credentials {
        self.token.as_ref().unwrap_or(&self.own)
    }

    /// Takes the token among settings, if there is one.
    pub(super) fn take_token(&mut self, pushed: &Pushed) {
        let Some(token) = &pushed.auth_token else { return };
        // A name that cannot be read is none: the server knows whose its token is.
        let name = pushed.auth_token_user.as_deref().and_then(|name| Base64::decode_vec(name).ok());
        let name = name.and_then(|name| String::from_utf8(name).ok()).filter(|name| !name.contains('\0'));
        let username = name.unwrap_or_else(|| self.shown().username.clone());
        self.token = Some(Credentials { username, password: token.expose().to_owned().into() });
    }

    /// What a refusal comes to: a token that is refused is over, and the password is still to be asked for. Without a token
    /// there is nothing else to show. A refusal for now judges neither.
    pub(super) fn judge(&mut self, failure: AuthFailure) -> AuthFailure {
        match failure {
            AuthFailure::Temporary(_) => failure,
            AuthFailure::Denied(why) | AuthFailure::SessionOver(why) if self.token.take().is_some() => {
                AuthFailure::SessionOver(why)
            }
            AuthFailure::SessionOver(why) => AuthFailure::Denied(why),
            AuthFailure::Denied(_) => failure,
            AuthFailure::Challenge { .. } => {
                self.token = None;
                failure
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn login() -> Login {
        Login::new(Credentials { username: "alice".into(), password: "right".to_owned().into() })
    }

    fn pushed(options: &[&str]) -> Pushed {
        Pushed::parse(&options.iter().map(|option| Zeroizing::new((*option).to_owned())).collect::<Vec<_>>())
    }

    fn shown(login: &Login) -> (&str, &str) {
        (&login.shown().username, &login.shown().password)
    }

    #[test]
    fn a_token_is_shown_until_it_is_refused_and_the_password_after_it() {
        let mut login = login();
        login.take_token(&pushed(&["auth-token one"]));
        login.take_token(&pushed(&["topology subnet"]));
        login.take_token(&pushed(&["auth-token two"]));
        assert_eq!(shown(&login), ("alice", "two"));
        for over in [AuthFailure::Denied("a".into()), AuthFailure::SessionOver("a".into())] {
            login.take_token(&pushed(&["auth-token three"]));
            assert_eq!(login.judge(over), AuthFailure::SessionOver("a".into()));
            assert_eq!(shown(&login), ("alice", "right"));
        }
        for over in [AuthFailure::Denied("b".into()), AuthFailure::SessionOver("b".into())] {
            assert_eq!(login.judge(over), AuthFailure::Denied("b".into()), "the password has been shown");
        }
    }

    #[test]
    fn a_refusal_for_now_leaves_the_token_and_a_question_does_not() {
        let mut login = login();
        login.take_token(&pushed(&["auth-token one"]));
        login.judge(AuthFailure::Temporary("busy".into()));
        assert_eq!(shown(&login), ("alice", "one"));
        login.judge(AuthFailure::parse(",CRV1:R:state:YQ==:PIN?"));
        assert_eq!(shown(&login), ("alice", "right"));
    }

    #[test]
    fn a_token_may_come_with_a_name_of_its_own() {
        for (name, expected) in [("Ym9i", "bob"), ("!", "alice"), ("/w==", "alice"), ("AA==", "alice")] {
            let mut login = login();
            login.take_token(&pushed(&[&format!("auth-token-user {name}"), "auth-token one"]));
            assert_eq!(shown(&login), (expected, "one"), "{name}");
        }
    }
}
