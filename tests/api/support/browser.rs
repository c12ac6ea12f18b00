//! A browser without a screen: it keeps cookies, follows redirects within the server, and sends forms with their hidden fields.

use super::{Answer, Client};
use regex::Regex;
use std::cell::RefCell;
use std::collections::BTreeMap;

pub struct Browser {
    root: Client,
    /// Where the pages are.
    auth: String,
    cookies: RefCell<BTreeMap<String, String>>,
}

impl Browser {
    /// `base` is the FHIR base of a server.
    pub fn new(base: &str) -> Self {
        Self::of(base, "/auth")
    }

    /// The same for the pages of a tenant.
    pub fn of(base: &str, auth: &str) -> Self {
        let root = Client::new(base.trim_end_matches("/fhir"));
        Self { root, auth: auth.to_owned(), cookies: RefCell::default() }
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.borrow().get(name).cloned()
    }

    pub fn forget(&self) {
        self.cookies.borrow_mut().clear();
    }

    /// One request, without following where it leads.
    pub fn step(&self, method: &str, path: &str, form: Option<&str>) -> Answer {
        let cookies = self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        let mut request = self.root.request(method, path);
        if !cookies.is_empty() {
            request = request.header("Cookie", &cookies.join("; "));
        }
        let answer = match form {
            Some(form) => request.form(form).send(),
            None => request.send(),
        };
        if let Some(cookie) = answer.header("set-cookie") {
            let (pair, _) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
            if cookie.contains("Max-Age=0") {
                self.cookies.borrow_mut().remove(name);
            }
        }
        answer
    }

    /// The page at an address, after all redirects within the server.
    pub fn open(&self, path: &str) -> Answer {
        self.follow(self.step("GET", path, None))
    }

    /// Sends a form of a page, whose hidden fields go along, to `/auth/{action}`.
    pub fn submit(&self, page: &Answer, action: &str, fields: &[(&str, &str)]) -> Answer {
        self.follow(self.submit_only(page, action, fields))
    }

    /// The same, without following where it leads.
    pub fn submit_only(&self, page: &Answer, action: &str, fields: &[(&str, &str)]) -> Answer {
        let form = Regex::new(&format!(r#"(?s)<form[^>]* action="{action}"[^>]*>(.*?)</form>"#)).unwrap();
        let form =
            form.captures_iter(page.text()).last().unwrap_or_else(|| panic!("no form {action}: {}", page.text()));
        let hidden = Regex::new(r#"<input type="hidden" name="([^"]*)" value="([^"]*)">"#).unwrap();
        let hidden = hidden.captures_iter(form.get(1).unwrap().as_str()).map(|field| {
            let (_, [name, value]) = field.extract();
            (name.to_owned(), value.to_owned())
        });
        let own = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let all = hidden.filter(|(name, _)| !fields.iter().any(|(own, _)| own == name)).chain(own);
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish();
        self.step("POST", &format!("{}/{action}", self.auth), Some(&text))
    }

    fn follow(&self, mut answer: Answer) -> Answer {
        for _ in 0..10 {
            match answer.header("location") {
                Some(address) if !address.contains("://") => {
                    answer = self.step("GET", &format!("{}/{address}", self.auth), None);
                }
                _ => return answer,
            }
        }
        panic!("the redirects have no end: {}", answer.text());
    }
}
