//! Random texts: nothing panics, every line has its verdict, and what is written is read again.

use proptest::prelude::*;

use super::super::material::SecretText;
use super::super::{
    Directive, Pulling, Pushed, Quoted, catalogue, directives, embed, lexer, needs, parse, parse_client_entry,
};
use super::CLIENT;

/// A word as people and their mistakes write it.
fn any_word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9./:-]{0,12}",
        "[0-9]{1,11}",
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("[inline]".to_owned()),
        Just("10.0.0.0".to_owned()),
        Just("255.255.255.0".to_owned()),
        Just("fd00::/64".to_owned()),
        Just("opt".to_owned()),
        "\\PC{0,6}",
    ]
}

fn any_line() -> impl Strategy<Value = String> {
    let names: Vec<_> =
        catalogue::all().map(|entry| entry.name).chain(["client", "tls-server", "frobnicate"]).collect();
    let option = (prop::sample::select(names), prop::collection::vec(any_word(), 0..5));
    let option = option.prop_map(|(name, words)| format!("{name} {}", words.join(" ")));
    let block = (prop::sample::select(lexer::BLOCKS.to_vec()), any_word(), any::<bool>());
    let block = block.prop_map(|(tag, inner, closed)| {
        format!("<{tag}>\n{inner}\n{}", if closed { format!("</{tag}>") } else { String::new() })
    });
    prop_oneof![6 => option, 1 => block, 1 => "\\PC{0,30}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_and_every_option_has_a_verdict(lines in prop::collection::vec(any_line(), 0..20), role in 0..3) {
        let start = ["", CLIENT, "server 10.8.0.0 255.255.255.0\n"][role as usize];
        let text = format!("{start}{}", lines.join("\n"));
        let parsed = parse(&text);
        prop_assert_eq!(parsed.config.is_none(), parsed.findings.iter().any(super::super::Finding::is_refused));
        for finding in &parsed.findings {
            prop_assert!(finding.line <= text.lines().count());
            prop_assert!(!finding.to_string().is_empty());
        }
        for directive in lexer::lex(&text).iter().flatten().filter(|d| d.name() != "connection") {
            prop_assert!(parsed.findings.iter().any(|f| f.line == directive.line), "line {} of {}", directive.line, text);
        }
        drop(parse_client_entry(&text));
        drop(Pushed::read(text.lines(), &Pulling::default()));
    }

    #[test]
    fn a_word_that_is_written_is_read_again(words in prop::collection::vec("[^\\p{Cc}]{0,20}", 1..8)) {
        let line = format!("echo {}", words.iter().map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" "));
        let Ok(read) = directives(&line) else { panic!("{line}") };
        prop_assert_eq!(read[0].words[1..].iter().map(|word| &word.text).collect::<Vec<_>>(), words.iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_text_that_is_written_again_says_the_same(lines in prop::collection::vec(any_line(), 0..12)) {
        let Ok(first) = directives(&lines.join("\n")) else { return Ok(()) };
        let text: String = first.iter().map(|d| format!("{d}\n")).collect();
        let again = directives(&text).unwrap();
        let said = |list: &[Directive]| -> Vec<_> {
            list.iter().map(|d| (d.words.iter().map(|w| w.text.clone()).collect::<Vec<_>>(), d.block.clone().map(|b| b.text))).collect()
        };
        prop_assert_eq!(said(&first), said(&again));
    }

    #[test]
    fn files_that_are_taken_in_leave_no_name_behind(lines in prop::collection::vec(any_line(), 0..12)) {
        let text = format!("{CLIENT}{}", lines.join("\n"));
        let embedded = embed(&text, |_| Some(SecretText::new("content\n".to_owned()))).unwrap();
        prop_assert_eq!(needs(embedded.expose()), vec![]);
    }
}
