//! Asking a person for user and password, of a server or a proxy, and for the password of a key: on the terminal, where nothing of the password is seen, or from standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use zeroize::Zeroizing;

use crate::exit::{Challenge, Failure, Result};
use crate::rpc::Login;
use crate::secret::SecretText;
use crate::tunnel::{LoginQuestion, Question};

/// The longest answer that is taken, in bytes.
const MAX_ANSWER: usize = 4096;

/// Asks for what is missing. From a pipe: a line each, in this order: password of the key, user and password of the proxy, user,
/// password, answer.
pub(super) fn ask(question: &Question, tunnel: &str) -> Result<Login> {
    let key_password: Option<SecretText> = match question.key {
        Some(option) => Some(hidden(&format!("Password of the key (`{option}`) for {tunnel}: "))?.into()),
        None => None,
    };
    let proxy = question.proxy.as_ref().map(|proxy| ask_proxy(proxy, tunnel)).transpose()?;
    let login = question.login.as_ref().map(|question| ask_login(question, tunnel)).transpose()?.unwrap_or_default();
    Ok(Login { key_password, proxy, ..login })
}

/// User and password, a line each.
fn ask_proxy(proxy: &str, tunnel: &str) -> Result<SecretText> {
    let proxy = for_people(proxy);
    let user = shown(&format!("User of the proxy {proxy} for {tunnel}: "))?;
    let password = hidden(&format!("Password of {} at the proxy {proxy} for {tunnel}: ", for_people(&user)))?;
    Ok(Zeroizing::new(format!("{}\n{}\n", *user, *password)).into())
}

fn ask_login(question: &LoginQuestion, tunnel: &str) -> Result<Login> {
    let user = match &question.user {
        Some(user) => user.clone(),
        None => shown(&format!("User for {tunnel}: "))?.to_string(),
    };
    let password: SecretText = if question.asks_password() {
        hidden(&format!("Password of {} for {tunnel}: ", for_people(&user)))?.into()
    } else {
        Zeroizing::new(String::new()).into()
    };
    let answer = match &question.challenge {
        None => Zeroizing::new(String::new()),
        Some(challenge) if challenge.echo => shown(&format!("{} ", for_people(&challenge.question)))?,
        Some(challenge) => hidden(&format!("{} ", for_people(&challenge.question)))?,
    };
    Ok(question.answered(&user, &password, &answer))
}

/// Asks what a server asks. The passwords of the key and of the proxy are those of before.
pub(super) fn answer(challenge: &Challenge, before: Option<&Login>) -> Result<Login> {
    let prompt = format!("{} ", for_people(&challenge.question));
    let answer = if challenge.echo { shown(&prompt)? } else { hidden(&prompt)? };
    let Login { user, password, .. } = &challenge.login;
    let begun = password.as_ref().map_or("", SecretText::expose);
    let password = Zeroizing::new(format!("{begun}{}", *answer));
    let before = before.cloned().unwrap_or_default();
    Ok(Login { user: user.clone(), password: Some(password.into()), ..before })
}

fn shown(prompt: &str) -> Result<Zeroizing<String>> {
    say(prompt)?;
    line(&mut io::stdin().lock())
}

fn hidden(prompt: &str) -> Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return line(&mut io::stdin().lock());
    }
    let failed = |e: io::Error| Failure::io("cannot ask on the terminal", &e);
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(failed)
}

/// Only where somebody sees it.
fn say(prompt: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let mut out = io::stderr();
    let said = out.write_all(prompt.as_bytes()).and_then(|()| out.flush());
    said.map_err(|e| Failure::io("cannot ask on the terminal", &e))
}

fn line(input: &mut impl io::BufRead) -> Result<Zeroizing<String>> {
    // A byte more than may be: what is left of a longer one would be taken for the next answer.
    let mut text = Zeroizing::new(String::with_capacity(MAX_ANSWER + 1));
    let mut input = io::Read::take(input, MAX_ANSWER as u64 + 1);
    input.read_line(&mut text).map_err(|e| Failure::io("cannot read the answer", &e))?;
    if text.is_empty() {
        return Err(Failure::usage("the configuration asks for something that only you know, and there was no answer")
            .hint("answer on a terminal, or give a line each on standard input"));
    }
    if text.len() > MAX_ANSWER {
        return Err(Failure::usage(format!("an answer has at most {MAX_ANSWER} bytes, and this one is longer")));
    }
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A configuration's or a server's text, without what a terminal would take for an order.
fn for_people(text: &str) -> String {
    text.chars().filter(|c| adit_openvpn::shows(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_line_and_one_that_is_too_long_is_not_cut_in_two() {
        let mut input = "secret \r\nnext\n".as_bytes();
        assert_eq!(*line(&mut input).unwrap(), "secret ");
        assert_eq!(*line(&mut input).unwrap(), "next");
        assert!(line(&mut input).unwrap_err().message.contains("there was no answer"));
        let longest = format!("{}\n", "x".repeat(MAX_ANSWER - 1));
        assert_eq!(line(&mut longest.as_bytes()).unwrap().len(), MAX_ANSWER - 1);
        assert!(line(&mut format!("x{longest}").as_bytes()).unwrap_err().message.contains("at most"));
    }

    #[test]
    fn a_question_gives_the_terminal_no_orders() {
        assert_eq!(for_people("PIN\u{1b}[2J\u{202e}?\n"), "PIN[2J?");
    }
}
