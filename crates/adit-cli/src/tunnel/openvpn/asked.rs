//! What an OpenVPN client is asked to be: a configuration with the files that it names, and a login.

use std::path::Path;

use adit::profile::file;
use adit_openvpn::options::{self, ClientConfig, Config, Finding, Material, Proxy, ProxyKind, StaticChallenge};
use adit_openvpn::{Credentials, Unusable};
use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use crate::cmd::import;
use crate::exit::{Exit, Failure, Result};
use crate::rpc::Login;
use crate::secret::SecretText;

/// What an OpenVPN client is asked to be.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) config: Box<ClientConfig>,
    /// What a person was asked for.
    login: Option<Login>,
    /// The option whose key is still to be opened with a password.
    locked: Option<&'static str>,
    /// What a person should hear of it.
    pub(crate) notes: Vec<String>,
}

/// What a person has to be asked before the client can connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The option whose key is encrypted.
    pub(crate) key: Option<&'static str>,
    /// The proxy that wants user and password.
    pub(crate) proxy: Option<String>,
    /// What the server wants to know.
    pub(crate) login: Option<LoginQuestion>,
}

/// Who is to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginQuestion {
    /// The user, where the file names one.
    pub(crate) user: Option<String>,
    /// The password, where the file has it.
    password: Option<SecretText>,
    /// What goes with them.
    pub(crate) challenge: Option<StaticChallenge>,
}

impl Asked {
    /// By a file, and what a person was asked for; one that is wrong says so.
    pub(crate) fn of_file(file: &Path, login: Option<Login>) -> Result<Self> {
        let (text, mode) = read(file)?;
        let whole = import::with_its_files(file, &text)?;
        let config = match options::parse(whole.expose()).config {
            Some(Config::Client(config)) => config,
            // What is wrong was said above, with the lines of the file.
            Some(Config::Server(_)) | None => return Err(unusable_with_its_files(file)),
        };
        let locked = match adit_openvpn::client_of(&with_key_password(&config, login.as_ref()), None) {
            Ok(_) => None,
            Err(Unusable::Locked { option }) => Some(option),
            Err(unusable) => return Err(Failure::usage(format!("{}: {unusable}", file.display()))),
        };
        Ok(Self { config, login, locked, notes: notes(file, &text, mode) })
    }

    /// The servers, in the order in which they are tried.
    pub(crate) fn servers(&self) -> Vec<String> {
        let transport = |remote: &options::Remote| match remote.transport {
            options::Transport::Udp => "UDP",
            options::Transport::Tcp => "TCP",
        };
        let remotes = self.config.remotes.iter();
        let through = |remote: &options::Remote| match &remote.proxy {
            Some(proxy) => format!(" through the {} {} port {}", proxy.kind.name(), proxy.host, proxy.port),
            None => String::new(),
        };
        let server = |remote: &options::Remote| {
            let options::Remote { host, port, .. } = remote;
            format!("{host} port {port} over {}{}", transport(remote), through(remote))
        };
        remotes.map(server).collect()
    }

    /// The programs that it has run, with when: a sentence each.
    pub(crate) fn programs(&self) -> Vec<String> {
        let hooks = self.config.common.hooks.run.iter();
        hooks.map(|hook| format!("run {} (`{}`)", hook.command.join(" "), hook.moment.option())).collect()
    }

    /// What has to be asked before it can connect, if something has.
    pub(crate) fn question(&self) -> Option<Question> {
        let (key, proxy, login) = (self.locked, self.proxy_that_asks(), self.login_question());
        (key.is_some() || proxy.is_some() || login.is_some()).then_some(Question { key, proxy, login })
    }

    /// The proxy whose user and password a person has to be asked for, if that was not done.
    fn proxy_that_asks(&self) -> Option<String> {
        let is_answered = self.login.as_ref().is_some_and(|login| login.proxy.is_some());
        let (_, host, port) = self.asking().filter(|_| !is_answered)?;
        Some(format!("{host}:{port}"))
    }

    /// The first proxy that needs somebody to be asked. What is answered is for this one alone: others may be of other people.
    fn asking(&self) -> Option<(ProxyKind, String, u16)> {
        let mut proxies = self.config.remotes.iter().filter_map(|remote| remote.proxy.as_ref());
        let proxy = proxies.find(|proxy| proxy.ask && proxy.login.is_none())?;
        Some((proxy.kind, proxy.host.clone(), proxy.port))
    }

    fn login_question(&self) -> Option<LoginQuestion> {
        let is_answered = self.login.as_ref().is_some_and(|login| login.password.is_some());
        let login = self.config.login.login.as_ref().filter(|_| !is_answered)?;
        let (user, password) = match &login.source {
            Some(Material::Inline(text)) => lines(text.expose()),
            Some(Material::File(_)) | None => (None, None),
        };
        let challenge = self.config.login.challenge.clone();
        let complete = user.is_some() && password.is_some() && challenge.is_none();
        (!complete).then_some(LoginQuestion { user, password, challenge })
    }

    /// The configuration with the passwords of its key and its proxies, if a person was asked for them.
    pub(super) fn unlocked(&self) -> ClientConfig {
        let mut config = with_key_password(&self.config, self.login.as_ref());
        if let Some(login) = self.login.as_ref().and_then(|login| login.proxy.as_ref()) {
            let text = options::SecretText::new(login.expose().to_owned());
            let proxies = config.remotes.iter_mut().filter_map(|remote| remote.proxy.as_mut());
            let asking = self.asking();
            let is_it = |proxy: &&mut Proxy| {
                let this = asking
                    .as_ref()
                    .is_some_and(|(kind, host, port)| (proxy.kind, &proxy.host, proxy.port) == (*kind, host, *port));
                proxy.ask && this
            };
            proxies.filter(is_it).for_each(|proxy| {
                proxy.login.get_or_insert_with(|| Material::Inline(text.clone()));
            });
        }
        config
    }

    /// User and password, from wherever they are.
    ///
    /// # Errors
    /// They have to be asked for, and nobody was.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>> {
        if let Some(option) = self.locked {
            return Err(Failure::usage(Unusable::Locked { option }));
        }
        if let Some(proxy) = self.proxy_that_asks() {
            let why = format!("the configuration asks for user and password of the proxy {proxy} (`stdin`)");
            return Err(Failure::usage(why).hint(
                "bring it up on a terminal, where `adit up` asks for them, or name a file of two lines in its place",
            ));
        }
        let Some(login) = &self.config.login.login else { return Ok(None) };
        if let Some(Login { user: Some(user), password: Some(password), .. }) = &self.login {
            return Ok(Some(credentials(user, password.expose())));
        }
        if self.login_question().is_some() {
            return Err(Failure::usage("the configuration asks for user and password (`auth-user-pass`)").hint(
                "bring it up on a terminal, where `adit up` asks for them, or put them into a file of two lines and write \
                 `auth-user-pass FILE`",
            ));
        }
        let (user, password) = match &login.source {
            Some(Material::Inline(text)) => lines(text.expose()),
            Some(Material::File(_)) | None => (None, None),
        };
        Ok(user.zip(password).map(|(user, password)| credentials(&user, password.expose())))
    }
}

/// The text of a file, and its mode.
pub(super) fn read(file: &Path) -> Result<(Zeroizing<String>, u32)> {
    file::read(file).map_err(|e| {
        let denied = matches!(e, file::LoadError::Denied { .. });
        Failure::new(if denied { Exit::Privilege } else { Exit::Usage }, e)
    })
}

/// Whether a file is that of a server.
pub(crate) fn is_of_server(file: &Path) -> Result<bool> {
    Ok(options::is_of_server(&read(file)?.0))
}

/// Of a file whose lines are right, until what they name is among them.
pub(super) fn unusable_with_its_files(file: &Path) -> Failure {
    Failure::usage(format!("{} cannot be used with the files it names", file.display()))
}

/// What a person should hear of a file.
pub(super) fn notes(file: &Path, text: &str, mode: u32) -> Vec<String> {
    let mut notes: Vec<String> =
        options::explain(text).iter().filter(|f| f.is_trouble()).map(|f| in_file(f, file)).collect();
    if mode & 0o044 != 0 && text.contains("PRIVATE KEY-----") {
        notes.push(format!(
            "{}: everybody on this machine may read the private key in it (mode {:04o})\n  hint: chmod 600 {0}",
            file.display(),
            mode & 0o7777
        ));
    }
    notes
}

fn with_key_password(config: &ClientConfig, login: Option<&Login>) -> ClientConfig {
    let mut config = config.clone();
    if let Some(password) = login.and_then(|login| login.key_password.as_ref()) {
        let text = options::SecretText::new(password.expose().to_owned());
        config.common.identity.key_password = Some(Material::Inline(text));
    }
    config
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials { username: user.to_owned(), password: Zeroizing::new(password.to_owned()) }
}

/// The first line is the user, the second the password.
fn lines(text: &str) -> (Option<String>, Option<SecretText>) {
    let mut lines = text.lines();
    let user = lines.next().filter(|user| !user.is_empty()).map(str::to_owned);
    (user, lines.next().map(|password| Zeroizing::new(password.to_owned()).into()))
}

impl LoginQuestion {
    /// Whether the password has to be asked for.
    pub(crate) const fn asks_password(&self) -> bool {
        self.password.is_none()
    }

    /// The login, from the answers: to those that were not asked for, nothing.
    pub(crate) fn answered(&self, user: &str, password: &SecretText, answer: &str) -> Login {
        let user = self.user.clone().unwrap_or_else(|| user.to_owned());
        let password = self.password.as_ref().unwrap_or(password);
        let password = match &self.challenge {
            None => password.clone(),
            Some(challenge) if challenge.concatenate => Zeroizing::new(format!("{}{answer}", password.expose())).into(),
            Some(_) => {
                let encoded = |text: &str| Zeroizing::new(Base64::encode_string(text.as_bytes()));
                let (password, answer) = (encoded(password.expose()), encoded(answer));
                Zeroizing::new(format!("SCRV1:{}:{}", &*password, &*answer)).into()
            }
        };
        Login { user: Some(user), password: Some(password), ..Login::default() }
    }
}

fn in_file(finding: &Finding, file: &Path) -> String {
    match (finding.line, finding.column) {
        (0, _) => format!("{}: {finding}", file.display()),
        (line, None) => format!("{}:{line}: {finding}", file.display()),
        (line, Some(column)) => format!("{}:{line}:{column}: {finding}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(user: Option<&str>, challenge: Option<bool>) -> LoginQuestion {
        let challenge =
            challenge.map(|concatenate| StaticChallenge { question: "PIN?".to_owned(), echo: false, concatenate });
        LoginQuestion { user: user.map(str::to_owned), password: None, challenge }
    }

    #[test]
    fn answers_become_a_login_as_servers_expect_it() {
        let password: SecretText = "pass word".parse().unwrap();
        let text = |question: &LoginQuestion| {
            let login = question.answered("bob", &password, "123");
            format!("{} {}", login.user.unwrap(), login.password.unwrap().expose())
        };
        assert_eq!(text(&question(None, None)), "bob pass word");
        assert_eq!(text(&question(Some("alice"), None)), "alice pass word");
        assert_eq!(text(&question(None, Some(true))), "bob pass word123");
        assert_eq!(text(&question(None, Some(false))), "bob SCRV1:cGFzcyB3b3Jk:MTIz");
    }

    #[test]
    fn a_file_of_two_lines_is_a_login() {
        assert_eq!(lines("alice\r\nsecret\r\n"), (Some("alice".to_owned()), Some("secret".parse().unwrap())));
        assert_eq!(lines("alice\n"), (Some("alice".to_owned()), None));
        assert_eq!(lines(""), (None, None));
    }
}
