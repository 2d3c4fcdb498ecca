//! What strangers write, made fit to be shown. Not here: comparing it, which is done with every letter as it came.

/// Whether a letter shows as itself: not those that a terminal takes for orders, nor those that turn the direction of writing
/// around, break lines or have no width, so that a text looks like another.
pub fn shows(letter: char) -> bool {
    let unseen = matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !letter.is_control() && !unseen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_show_and_orders_do_not() {
        assert!("Zürich Büro — ИТ 東京 العربية\u{a0}1".chars().all(shows));
        for unseen in ['\u{1b}', '\n', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{200b}', '\u{61c}', '\u{feff}']
        {
            assert!(!shows(unseen), "{unseen:?}");
        }
    }
}
