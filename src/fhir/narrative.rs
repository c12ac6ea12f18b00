//! The links in a narrative's XHTML: the values of `href` and `src`, changed in place.
//!
//! <https://hl7.org/fhir/R4/narrative.html>. Nothing else of the text is touched, not even its quotes.

/// Offers each value of an attribute `href` or `src` to `replace`. Gives the new text, or `None` where nothing is replaced.
/// Comments, CDATA sections and text between the tags are no attributes. What is not well-formed is left as it is from there.
pub(super) fn replace_links(div: &str, replace: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut scan = Scan { text: div, at: 0 };
    while let Some((from, to)) = scan.next_link() {
        let value = div.get(from..to)?;
        let plain = if value.contains('&') { value.replace("&amp;", "&") } else { value.to_owned() };
        if let Some(link) = replace(&plain) {
            out.push_str(div.get(copied..from)?);
            out.push_str(
                &link.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;").replace('<', "&lt;"),
            );
            copied = to;
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(div.get(copied..)?);
    Some(out)
}

/// A position in XHTML, between tags or (after a name) inside one.
struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Moves behind the next `end`, or to the end of the text.
    fn skip_past(&mut self, end: &str) {
        self.at = self.rest().find(end).map_or(self.text.len(), |found| self.at + found + end.len());
    }

    /// Where the value of the next link starts and ends.
    fn next_link(&mut self) -> Option<(usize, usize)> {
        loop {
            if let Some((name, from, to)) = self.attribute() {
                if matches!(name, "href" | "src") {
                    return Some((from, to));
                }
            } else {
                self.enter_tag()?;
            }
        }
    }

    /// Moves into the next tag, behind its name.
    fn enter_tag(&mut self) -> Option<()> {
        loop {
            self.at += self.rest().find('<')?;
            if self.rest().starts_with("<!--") {
                self.skip_past("-->");
            } else if self.rest().starts_with("<![CDATA[") {
                self.skip_past("]]>");
            } else {
                self.at += self.rest().find(|letter: char| letter.is_whitespace() || letter == '>')?;
                return Some(());
            }
        }
    }

    /// Reads the next attribute of the tag: its name, and where its value starts and ends. `None` outside of a tag, at its
    /// end, or where it is not well-formed; the position then stays.
    fn attribute(&mut self) -> Option<(&'t str, usize, usize)> {
        let start = self.at;
        let found = self.try_attribute();
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn try_attribute(&mut self) -> Option<(&'t str, usize, usize)> {
        let before = self.at;
        self.blanks();
        if self.at == before {
            return None;
        }
        let length =
            self.rest().find(|letter: char| letter.is_whitespace() || matches!(letter, '=' | '>' | '/' | '<'))?;
        let name = self.rest().get(..length).filter(|name| !name.is_empty())?;
        self.at += length;
        self.blanks();
        self.at += self.rest().strip_prefix('=').map(|_| 1)?;
        self.blanks();
        let quote = self.rest().chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let from = self.at + 1;
        let to = from + self.text.get(from..)?.find(quote)?;
        self.at = to + 1;
        Some((name, from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(div: &str) -> Option<String> {
        replace_links(div, &mut |link| {
            (link == "urn:uuid:1" || link == "http://x/?a=1&b=2").then(|| "Patient/1".into())
        })
    }

    #[test]
    fn links_are_replaced_and_nothing_else() {
        let cases = [
            (r#"<div><a href="urn:uuid:1">x</a></div>"#, r#"<div><a href="Patient/1">x</a></div>"#),
            (
                "<div class=\"a\" ><img\n alt = 'href=\"urn:uuid:1\"'  src = 'urn:uuid:1' /> urn:uuid:1 </div>",
                "<div class=\"a\" ><img\n alt = 'href=\"urn:uuid:1\"'  src = 'Patient/1' /> urn:uuid:1 </div>",
            ),
            (
                r#"<div><a href="urn:uuid:2"/><a href="http://x/?a=1&amp;b=2"/> é </div>"#,
                r#"<div><a href="urn:uuid:2"/><a href="Patient/1"/> é </div>"#,
            ),
        ];
        for (before, after) in cases {
            assert_eq!(replaced(before).as_deref(), Some(after));
        }
    }

    #[test]
    fn what_is_no_link_is_left() {
        for div in [
            "",
            "<div>",
            r#"<div>href="urn:uuid:1"</div>"#,
            r#"<div title="urn:uuid:1" data-href="urn:uuid:1">x</div>"#,
            r#"<div><!-- <a href="urn:uuid:1"> --></div>"#,
            r#"<div><![CDATA[ <a href="urn:uuid:1"> ]]></div>"#,
            r#"<div><a href="urn:uuid:1"#,
            "<div><a href=urn:uuid:1>x</a></div>",
            "<a",
            "< ",
            "<a href",
            "<a href=",
        ] {
            assert_eq!(replaced(div), None, "{div}");
        }
    }

    proptest::proptest! {
        /// Whatever the text: a link replaced by itself leaves it as it was, byte for byte.
        #[test]
        fn nothing_but_links_changes(parts in proptest::collection::vec("<a|<img|>|/>|<!--|-->|<!\\[CDATA\\[|]]>| |=|\"|'| href=\"| src = '|é|urn:x", 0..40)) {
            let text = parts.concat();
            let mut links = 0;
            let same = replace_links(&text, &mut |link| {
                links += 1;
                (!link.contains(['"', '\'', '<'])).then(|| link.to_owned())
            });
            proptest::prop_assert!(same.is_none_or(|same| same == text && links > 0));
        }
    }
}
