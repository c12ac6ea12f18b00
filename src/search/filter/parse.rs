//! The grammar of `_filter`.

/// Parentheses, brackets and `not` inside each other, at most.
const DEPTH_MAX: usize = 32;

/// A filter as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// `path operator value`.
    Test(Test),
    /// `not (filter)`.
    Not(Box<Filter>),
    /// `filter and filter`.
    And(Box<Filter>, Box<Filter>),
    /// `filter or filter`.
    Or(Box<Filter>, Box<Filter>),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The parameters from the resource on; at least one.
    pub path: Vec<Step>,
    /// What is compared, as written.
    pub operator: String,
    /// With what.
    pub value: String,
}

/// One name of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The search parameter, perhaps with `:` and the type that it refers to.
    pub name: String,
    /// What must hold of that to which it refers.
    pub filter: Option<Box<Filter>>,
}

/// Reads a filter: what is wrong, and at which character, where it is none; and the number of its comparisons.
pub fn parse(text: &str) -> Result<(Filter, usize), (&'static str, usize)> {
    let mut reader = Reader { text, rest: text, tests: 0 };
    let found = reader.filter(0).and_then(|filter| {
        reader.blanks();
        if reader.rest.is_empty() { Ok((filter, reader.tests)) } else { Err("`and`, `or` or the end is expected") }
    });
    found.map_err(|why| (why, reader.text.chars().count() - reader.rest.chars().count()))
}

struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
    tests: usize,
}

type Read<T> = Result<T, &'static str>;

impl<'t> Reader<'t> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, mark: char) -> bool {
        let after = self.rest.strip_prefix(mark);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// The longest start of such characters.
    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|char| !is_part(char)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Takes a word that stands alone.
    fn keyword(&mut self, word: &str) -> bool {
        let after = self.rest.get(..word.len()).filter(|start| start.eq_ignore_ascii_case(word));
        let after = after.and_then(|_| self.rest.get(word.len()..));
        match after.filter(|after| after.starts_with(|next: char| next.is_whitespace() || next == '(')) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    /// `and` and `or` bind alike, from left to right.
    fn filter(&mut self, depth: usize) -> Read<Filter> {
        if depth > DEPTH_MAX {
            return Err("the filter is nested too deep");
        }
        let mut left = self.single(depth)?;
        loop {
            self.blanks();
            if self.keyword("and") {
                left = Filter::And(Box::new(left), Box::new(self.single(depth)?));
            } else if self.keyword("or") {
                left = Filter::Or(Box::new(left), Box::new(self.single(depth)?));
            } else {
                return Ok(left);
            }
        }
    }

    fn single(&mut self, depth: usize) -> Read<Filter> {
        self.blanks();
        if self.take('(') {
            return self.closed(')', depth);
        }
        if self.keyword("not") {
            self.blanks();
            if !self.take('(') {
                return Err("`(` is expected after `not`");
            }
            return Ok(Filter::Not(Box::new(self.closed(')', depth)?)));
        }
        self.test(depth).map(Filter::Test)
    }

    /// The filter up to its closing mark.
    fn closed(&mut self, mark: char, depth: usize) -> Read<Filter> {
        let inner = self.filter(depth + 1)?;
        self.blanks();
        match (self.take(mark), mark) {
            (true, _) => Ok(inner),
            (false, ')') => Err("`)` is expected"),
            (false, _) => Err("`]` is expected"),
        }
    }

    fn test(&mut self, depth: usize) -> Read<Test> {
        self.tests += 1;
        let mut path = vec![self.step(depth)?];
        while self.take('.') {
            path.push(self.step(depth)?);
        }
        if path.last().is_some_and(|step| step.filter.is_some()) {
            return Err("`.` and a parameter are expected after `]`");
        }
        self.blanks();
        let operator = self.take_while(|char| char.is_ascii_alphabetic()).to_ascii_lowercase();
        if operator.is_empty() || !self.rest.starts_with(char::is_whitespace) {
            return Err("an operator between blanks is expected");
        }
        self.blanks();
        Ok(Test { path, operator, value: self.value()? })
    }

    fn step(&mut self, depth: usize) -> Read<Step> {
        let name = self.take_while(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | ':'));
        if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            return Err("a search parameter is expected");
        }
        let filter = if self.take('[') { Some(Box::new(self.closed(']', depth)?)) } else { None };
        Ok(Step { name: name.into(), filter })
    }

    fn value(&mut self) -> Read<String> {
        if self.rest.starts_with('"') {
            return self.string();
        }
        let token = self.take_while(|char| !char.is_whitespace() && !matches!(char, ')' | ']'));
        if token.is_empty() { Err("a value is expected") } else { Ok(token.into()) }
    }

    /// A JSON string.
    fn string(&mut self) -> Read<String> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let value = values.next().and_then(Result::ok).ok_or("a string in quotation marks is expected")?;
        self.rest = self.rest.get(values.byte_offset()..).unwrap_or_default();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter with all its parentheses.
    fn shown(filter: &Filter) -> String {
        match filter {
            Filter::Test(Test { path, operator, value }) => {
                let step = |step: &Step| match &step.filter {
                    Some(inner) => format!("{}[{}]", step.name, shown(inner)),
                    None => step.name.clone(),
                };
                let path: Vec<_> = path.iter().map(step).collect();
                format!("{} {operator} <{value}>", path.join("."))
            }
            Filter::Not(inner) => format!("not({})", shown(inner)),
            Filter::And(left, right) => format!("({} & {})", shown(left), shown(right)),
            Filter::Or(left, right) => format!("({} / {})", shown(left), shown(right)),
        }
    }

    #[test]
    fn grammar() {
        for (text, expected) in [
            (r#"name co "pet""#, "name co <pet>"),
            ("given eq \"peter\" and birthdate ge 2014-10-10", "(given eq <peter> & birthdate ge <2014-10-10>)"),
            ("code eq http://loinc.org|1234-5", "code eq <http://loinc.org|1234-5>"),
            ("a eq 1 or b eq 2 and c eq 3", "((a eq <1> / b eq <2>) & c eq <3>)"),
            ("a eq 1 or (b eq 2 and c eq 3)", "(a eq <1> / (b eq <2> & c eq <3>))"),
            ("not (a eq 1) and not(b eq 2)", "(not(a eq <1>) & not(b eq <2>))"),
            (r#"related[type eq "has-component"].target pr true"#, "related[type eq <has-component>].target pr <true>"),
            ("a[b eq c and d[e eq f].g eq h].i.j re k", "a[(b eq <c> & d[e eq <f>].g eq <h>)].i.j re <k>"),
            (r#"( a  eq "x \" ) ] \u00e9" )"#, "a eq <x \" ) ] é>"),
            ("subject:Patient.name SW x", "subject:Patient.name sw <x>"),
        ] {
            let (filter, tests) = parse(text).unwrap();
            assert_eq!(shown(&filter), expected);
            assert_eq!(tests, expected.matches('<').count());
        }
    }

    #[test]
    fn what_is_no_filter_says_where() {
        for (text, at) in [
            ("", 0),
            ("name", 4),
            ("name co", 7),
            ("name co ", 8),
            ("name co \"pet", 8),
            ("name co x y", 10),
            ("(name co x", 10),
            ("not name co x", 4),
            ("a[b eq c eq d", 9),
            ("a[b eq c] eq d", 9),
            ("a. eq d", 2),
            ("é eq d", 0),
        ] {
            assert_eq!(parse(text).unwrap_err().1, at, "{text}: {:?}", parse(text));
        }
        assert!(parse(&"(".repeat(100_000)).unwrap_err().0.contains("deep"));
        assert!(parse(&"not(".repeat(100_000)).unwrap_err().0.contains("deep"));
        assert!(parse(&"a[".repeat(100_000)).unwrap_err().0.contains("deep"));
    }
}
