//! The narrative: XHTML that holds text and pictures and nothing active.
//! <https://hl7.org/fhir/R4/narrative.html#xhtml>
//!
//! The elements and attributes are those of the rule txt-1, and `address`, `bdo`, `kbd`, `xml:lang` and `xml:space`, which
//! the chapters of HTML 4 that it names have too. Browsers read a narrative as HTML, not as XML, so what the two read
//! differently (CDATA, processing instructions, some comments) is refused.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, escape};

const NAMESPACE: &str = "http://www.w3.org/1999/xhtml";
const NOT_WELL_FORMED: &str = "The narrative is not well-formed XML.";

/// In the order that `binary_search` needs.
#[rustfmt::skip]
const ELEMENTS: [&str; 51] = [
    "a", "abbr", "acronym", "address", "b", "bdo", "big", "blockquote", "br", "caption", "cite", "code", "col",
    "colgroup", "dd", "dfn", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd",
    "li", "ol", "p", "pre", "q", "samp", "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot",
    "th", "thead", "tr", "tt", "ul", "var",
];

/// In the order that `binary_search` needs.
#[rustfmt::skip]
const ATTRIBUTES: [&str; 52] = [
    "abbr", "accesskey", "align", "alt", "axis", "bgcolor", "border", "cellhalign", "cellpadding", "cellspacing",
    "cellvalign", "char", "charoff", "charset", "cite", "class", "colspan", "compact", "coords", "dir", "frame",
    "headers", "height", "href", "hreflang", "hspace", "id", "lang", "longdesc", "name", "nowrap", "rel", "rev",
    "rowspan", "rules", "scope", "shape", "span", "src", "start", "style", "summary", "tabindex", "title", "type",
    "valign", "value", "vspace", "width", "xml:lang", "xml:space", "xmlns",
];

/// Schemes of links that a reader may follow.
const LINKS: [&str; 6] = ["ftp", "http", "https", "mailto", "tel", "urn"];

/// Whether a text is a narrative that R4 allows: one `div` of XHTML with some text or a picture.
///
/// # Errors
/// What is wrong, without any text of the narrative.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.bytes().any(|byte| byte < b' ' && !byte.is_ascii_whitespace()) {
        return Err(NOT_WELL_FORMED);
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let (mut depth, mut roots, mut has_content) = (0_usize, 0_usize, false);
    loop {
        match reader.read_event().map_err(|_| NOT_WELL_FORMED)? {
            Event::Start(start) => {
                has_content |= element(&start, depth, &mut roots)?;
                depth += 1;
            }
            Event::Empty(start) => has_content |= element(&start, depth, &mut roots)?,
            Event::End(_) => depth = depth.checked_sub(1).ok_or(NOT_WELL_FORMED)?,
            Event::Text(text) => {
                let is_blank = text.bytes().all(|byte| byte.is_ascii_whitespace());
                if depth == 0 && !is_blank {
                    return Err("The narrative has text outside of its `div`.");
                }
                has_content |= !is_blank;
            }
            // `&amp;`, `&#160;`, and the names that HTML has.
            Event::GeneralRef(name) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'#') => {
                has_content |= depth > 0;
            }
            // HTML ends a comment at these, XML does not.
            Event::Comment(text) if !text.starts_with('>') && !text.starts_with("->") && !text.contains("--") => {}
            Event::Eof if depth > 0 => return Err(NOT_WELL_FORMED),
            Event::Eof if roots != 1 => return Err("The narrative must be one `div`."),
            Event::Eof if !has_content => return Err("The narrative must have some text or an image (txt-2)."),
            Event::Eof => return Ok(()),
            _ => return Err("The narrative must not have CDATA, processing instructions or a document type."),
        }
    }
}

/// Checks a start tag; tells whether it is content by itself, as a picture is.
fn element(start: &BytesStart<'_>, depth: usize, roots: &mut usize) -> Result<bool, &'static str> {
    let name = start.name();
    let name: &str = name.as_ref();
    if ELEMENTS.binary_search(&name).is_err() {
        return Err("The narrative has an element that is not allowed (txt-1).");
    }
    let (mut namespace, mut has_source) = (None, false);
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| NOT_WELL_FORMED)?;
        let key: &str = attribute.key.as_ref();
        if ATTRIBUTES.binary_search(&key).is_err() {
            return Err("The narrative has an attribute that is not allowed (txt-1).");
        }
        // Names of HTML are not resolved: a browser would read `&colon;` where this does not.
        let value = escape::unescape(&attribute.value);
        match (key, value.as_deref()) {
            ("href" | "src" | "style" | "cite" | "longdesc" | "xmlns", Err(_)) => return Err(NOT_WELL_FORMED),
            ("xmlns", Ok(value)) => namespace = Some(value == NAMESPACE),
            ("href" | "cite" | "longdesc", Ok(value)) if !is_link(value) => {
                return Err("The narrative has a link that is neither local nor to a page or an address.");
            }
            ("src", Ok(value)) if !is_picture(value) => {
                return Err("An image of the narrative must be local: `#id`, `data:` or a relative URL.");
            }
            ("src", _) => has_source = true,
            ("style", Ok(value)) if !is_style(value) => return Err("The narrative has a style that is not allowed."),
            _ => {}
        }
    }
    if depth == 0 {
        *roots += 1;
        if name != "div" || namespace != Some(true) {
            return Err("The narrative must be a `div` in the namespace of XHTML.");
        }
    }
    if namespace == Some(false) {
        return Err("The narrative must have elements of XHTML only.");
    }
    Ok(name == "img" && has_source)
}

/// A URL as a browser reads it (without blanks and control characters, small letters), and its scheme.
fn parts(url: &str) -> (String, Option<String>) {
    let url: String = url.chars().filter(|c| *c > ' ').map(|c| c.to_ascii_lowercase()).collect();
    let scheme = url.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| !scheme.contains(['/', '?', '#']));
    let scheme = scheme.map(str::to_owned);
    (url, scheme)
}

fn is_link(url: &str) -> bool {
    parts(url).1.is_none_or(|scheme| LINKS.contains(&scheme.as_str()))
}

/// A picture that is fetched from nowhere else: contained, inline, beside the resource, or another entry of a transaction.
fn is_picture(url: &str) -> bool {
    let (url, scheme) = parts(url);
    match scheme.as_deref() {
        Some("data") => url.starts_with("data:image/"),
        Some("urn") => true,
        Some(_) => false,
        None => !url.starts_with("//") && !url.contains('\\'),
    }
}

/// A style without scripts and pictures from elsewhere.
fn is_style(style: &str) -> bool {
    const REFUSED: [&str; 8] =
        ["\\", "/*", "expression", "javascript:", "vbscript:", "behavior", "-moz-binding", "@import"];
    let style = style.to_ascii_lowercase();
    let argument = |part: &str| part.trim_start_matches([' ', '\t', '\n', '\r', '"', '\'']).to_owned();
    !REFUSED.iter().any(|refused| style.contains(refused))
        && !style.contains("image(")
        && !style.contains("image-set(")
        && style.split("url(").skip(1).all(|part| is_picture(argument(part).split(')').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(text: &str) -> Result<(), &'static str> {
        check(&format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{text}</div>"))
    }

    #[test]
    fn the_lists_are_sorted() {
        assert!(ELEMENTS.is_sorted() && ATTRIBUTES.is_sorted());
    }

    #[test]
    fn allowed() {
        for text in [
            "text",
            "<p style=\"color: red\">a<br/><b>c</b> &amp; &#160;&nbsp;</p>",
            "<img src=\"#picture\" alt=\"\"/>",
            "<img src=\"data: image/png;base64,QQ==\"/>",
            "<img src=\"help16.png\"/>",
            "<a href=\"https://example.org\">a</a><a href=\"#b\">b</a><a name=\"c\">c</a><a href=\"mailto:a@b.org\">d</a>",
            "<!-- a comment -->text",
            "<table><tbody><tr><td colspan=\"2\">1</td></tr></tbody></table>",
            "<td style=\"background-image: url(line.png)\">1</td>",
        ] {
            assert_eq!(inside(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            " \n ",
            "<p></p>",
            "<img alt=\"nothing\"/>",
            "<script>alert(1)</script>",
            "<p onclick=\"a()\">a</p>",
            "<form>a</form>",
            "<iframe/>a",
            "<P>a</P>",
            "<h:p>a</h:p>",
            "<p xmlns=\"http://www.w3.org/2000/svg\">a</p>",
            "<a href=\"javascript:alert(1)\">a</a>",
            "<a href=\" java&#10;script:alert(1)\">a</a>",
            "<a href=\"javascript&colon;alert(1)\">a</a>",
            "<a href=\"data:text/html,a\">a</a>",
            "<img src=\"https://example.org/a.png\"/>",
            "<img src=\"//example.org/a.png\"/>",
            "<p style=\"background: url( 'https://example.org/a.png')\">a</p>",
            "<p style=\"background: u\\72l(//example.org)\">a</p>",
            "<p style=\"width: expression(alert(1))\">a</p>",
            "<![CDATA[a]]>",
            "<?php a ?>a",
            "<!--><script>alert(1)</script>-->a",
            "<p>a",
            "</div><div xmlns=\"http://www.w3.org/1999/xhtml\">a",
            "a & b",
            "<p class=a>a</p>",
            "a\u{1}",
        ] {
            assert!(inside(text).is_err(), "{text}");
        }
        for text in [
            "",
            "text",
            "<div>a</div>",
            "<p xmlns=\"http://www.w3.org/1999/xhtml\">a</p>",
            "<div",
            "<div xmlns=\"x\">a</div>",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(check("<!DOCTYPE html><div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>").is_err());
        assert!(check("<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>b").is_err());
    }
}
