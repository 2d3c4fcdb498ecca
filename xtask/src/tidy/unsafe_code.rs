//! `unsafe` has one address: modules named `sys`.

use super::SourceFile;

pub(super) fn check(files: &[SourceFile]) -> Vec<String> {
    let elsewhere = files.iter().filter(|file| file.is_rust() && !is_sys(&file.path));
    elsewhere.flat_map(|file| lines(&file.text).into_iter().map(|line| finding(&file.path, line))).collect()
}

fn finding(path: &str, line: usize) -> String {
    format!("{path}:{line}: unsafe code outside a module named `sys`")
}

fn is_sys(path: &str) -> bool {
    path.ends_with("/sys.rs") || path.contains("/sys/")
}

fn lines(text: &str) -> Vec<usize> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let numbered = code.enumerate().filter(|(_, line)| MARKS.iter().any(|mark| line.contains(mark)));
    numbered.map(|(number, _)| number + 1).collect()
}

/// How unsafe code begins. Written apart, so that this file does not find itself.
const MARKS: [&str; 5] = [
    concat!("unsafe", " {"),
    concat!("unsafe", " fn"),
    concat!("unsafe", " impl"),
    concat!("unsafe", " extern"),
    concat!("expect(", "unsafe_code"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_sys_modules_may_speak_of_it() {
        let block = format!("let x = {}", concat!("unsafe", " { y() };\n"));
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        assert_eq!(check(&[file("a/b.rs", &block)]).len(), 1);
        assert_eq!(check(&[file("a/sys.rs", &block), file("a/sys/ioctl.rs", &block)]).len(), 0);
        assert_eq!(check(&[file("a/b.rs", &format!("// {block}"))]).len(), 0);
    }
}
