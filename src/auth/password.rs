//! Passwords: which are good enough, and how they are proven.
//!
//! The rules are those of NIST SP 800-63B-4 section 3.1.1.2: length counts and nothing else is demanded of the characters; what is
//! commonly chosen is refused; nothing expires, and there are no hints. Kept is argon2id in the PHC form, with OWASP's least
//! parameters (19 MiB, 2 passes, 1 lane), which are the defaults of the crate.

use super::server::Server;
use super::totp::new_base32;
use crate::error::{Category, Error, Result};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use std::sync::{Arc, LazyLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unicode_normalization::UnicodeNormalization;

/// The most bytes of a password.
pub const MOST_BYTES: usize = 1_000;

/// What has to be left of a password when common words, names, years and characters in a row count as one or two.
const LEAST_LEFT: usize = 6;

/// Who may wait for a turn, in this process; more are sent away.
const MOST_WAITING: usize = 64;

/// Hashing takes memory and a core: at most half the cores do it at once.
static AT_WORK: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((cores / 2).max(1)))
});

static WAITING: Semaphore = Semaphore::const_new(MOST_WAITING);

/// What the password of somebody who has none is compared with, so that the answer takes as long.
static DUMMY: LazyLock<Option<String>> = LazyLock::new(|| hash_now("").ok());

/// Why a new password is refused: a sentence for whoever chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// It has fewer characters than this.
    #[error("A password needs at least {0} characters. Several words make a good one.")]
    TooShort(u32),
    /// It has more than [`MOST_BYTES`].
    #[error("A password can have at most {MOST_BYTES} bytes.")]
    TooLong,
    /// It is what many choose, or tells its owner.
    #[error(
        "This password is easy to guess: it is mostly common words, years, repeated characters, characters in a row, \
         or the name of the user or the server."
    )]
    Predictable,
    /// It is the one to be replaced.
    #[error("The new password must not be the old one.")]
    Same,
}

impl From<Weakness> for Error {
    fn from(weakness: Weakness) -> Self {
        Self::new(Category::Unprocessable, "business-rule", weakness.to_string()).at("password")
    }
}

impl Server {
    /// Whether a password may be chosen by a user of this name.
    ///
    /// # Errors
    /// Why not.
    pub fn check_password(&self, password: &str, username: &str, name: &str) -> Result<(), Weakness> {
        if password.len() > MOST_BYTES {
            return Err(Weakness::TooLong);
        }
        let least = self.config.password_characters;
        if password.nfkc().count() < usize::try_from(least).unwrap_or(usize::MAX) {
            return Err(Weakness::TooShort(least));
        }
        let host = self.public_url.split_once("://").map_or(&*self.public_url, |(_, host)| host);
        let context = [username, name, host].into_iter().flat_map(words).collect::<Vec<_>>();
        if left(password, &context) < LEAST_LEFT { Err(Weakness::Predictable) } else { Ok(()) }
    }

    /// A random password, to be told once and changed at the first sign-in.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new_password(&self) -> Result<String> {
        let least = usize::try_from(self.config.password_characters).unwrap_or(MOST_BYTES).max(LEAST_MADE);
        let mut password = grouped(&new_base32::<16>()?);
        while password.len() < least.min(MOST_BYTES) {
            password = format!("{password}-{}", grouped(&new_base32::<16>()?));
        }
        Ok(password)
    }
}

/// The least characters of a password that the server makes: 125 random bits with their dashes.
const LEAST_MADE: usize = 29;

/// The right to hash one password now.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// Waits for a turn.
///
/// # Errors
/// 503 where too many wait.
pub(super) async fn turn() -> Result<Turn> {
    let busy = || Error::unavailable("Too many people sign in at once.", "no turn to hash a password");
    let _waiting = WAITING.try_acquire().map_err(|_| busy())?;
    let permit = Arc::clone(&AT_WORK).acquire_owned().await.map_err(|_| busy())?;
    Ok(Turn { _permit: permit })
}

impl Turn {
    /// The PHC form of a password.
    pub(super) async fn hash(self, password: &str) -> Result<String> {
        let password = password.to_owned();
        self.work(move || hash_now(&password)).await?
    }

    /// Whether a password is the one that is kept. Where none is kept, it takes as long to say no.
    pub(super) async fn verify(self, kept: Option<String>, password: &str) -> Result<bool> {
        let password = if password.len() > MOST_BYTES { String::new() } else { password.to_owned() };
        self.work(move || {
            let dummy = DUMMY.as_deref();
            let hash = kept.as_deref().or(dummy).and_then(|hash| PasswordHash::new(hash).ok());
            let normal = password.nfkc().collect::<String>();
            let is_same = hash.is_some_and(|hash| Argon2::default().verify_password(normal.as_bytes(), &hash).is_ok());
            is_same && kept.is_some() && !password.is_empty()
        })
        .await
    }

    /// The permit goes with the work: who hangs up does not make room for another before it is done.
    async fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let task = move || {
            let done = work();
            drop(self);
            done
        };
        tokio::task::spawn_blocking(task).await.map_err(|error| Error::internal(format!("hashing a password: {error}")))
    }
}

/// Letters in groups of five, joined by dashes; without the last few that make no group.
pub(super) fn grouped(letters: &str) -> String {
    let groups = letters.as_bytes().chunks_exact(5).map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join("-")
}

fn hash_now(password: &str) -> Result<String> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| Error::internal("no randomness"))?;
    let normal = password.nfkc().collect::<String>();
    let hash = Argon2::default().hash_password_with_salt(normal.as_bytes(), &salt);
    Ok(hash.map_err(|error| Error::internal(format!("hashing a password: {error}")))?.to_string())
}

/// Words and beginnings of words that many passwords are made of.
const COMMON: &str = "password passwort passwd pass secret welcome willkommen hello letmein login logon changeme change default \
    admin administrator root user guest test demo master system access open sesame abc asd qwe qaz wsx \
    iloveyou love princess sunshine dragon monkey football baseball soccer hockey shadow superman batman pokemon starwars \
    summer winter spring autumn fall monday tuesday wednesday thursday friday saturday sunday january february march april may \
    june july august september october november december \
    hospital clinic doctor nurse patient medical medicine health care healthcare pharos fhir smart";

/// Keys that lie side by side.
const ROWS: [&str; 5] = ["1234567890", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm"];

/// The words of a name that are long enough to count, as [`left`] compares them.
fn words(name: &str) -> impl Iterator<Item = Vec<char>> {
    let words = name.split(|c: char| !c.is_alphanumeric()).map(|word| fold(word).into_iter().map(plain).collect());
    words.filter(|word: &Vec<char>| word.len() >= 3).collect::<Vec<_>>().into_iter()
}

fn fold(text: &str) -> Vec<char> {
    text.nfkc().flat_map(char::to_lowercase).collect()
}

/// The letter that a digit or a sign is written for.
const fn plain(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        c => c,
    }
}

/// How many characters are left of a password where a word that is known counts as one, and so do repeated characters and those in
/// a row. What only repeats its beginning counts once.
fn left(password: &str, context: &[Vec<char>]) -> usize {
    let text = once(fold(password));
    let letters = text.iter().copied().map(plain).collect::<Vec<_>>();
    let common = COMMON.split_ascii_whitespace().map(|word| word.chars().map(plain).collect::<Vec<_>>());
    let known = common.chain(context.iter().cloned()).collect::<Vec<_>>();
    let (mut count, mut at) = (0, 0);
    while let (Some(rest), Some(rest_letters)) = (text.get(at..).filter(|rest| !rest.is_empty()), letters.get(at..)) {
        let word = known.iter().filter(|word| rest_letters.starts_with(word)).map(Vec::len).max().unwrap_or(1);
        at += word.max(in_a_row(rest)).max(year(rest));
        count += 1;
    }
    count
}

/// Without the repetitions of a beginning that makes up the whole.
fn once(mut text: Vec<char>) -> Vec<char> {
    let repeats = |length: &usize| text.iter().zip(text.iter().skip(*length)).all(|(one, other)| one == other);
    if let Some(length) = (1..=text.len() / 2).find(repeats) {
        text.truncate(length);
    }
    text
}

/// How many characters at the start are the same or follow each other, in the alphabet or on the keyboard; 1 for fewer than three.
fn in_a_row(text: &[char]) -> usize {
    let is_next = |one: char, other: char| {
        let near = |row: &&str| row.find(one).zip(row.find(other)).is_some_and(|(one, other)| one.abs_diff(other) <= 1);
        one == other || u32::from(one).abs_diff(u32::from(other)) == 1 || ROWS.iter().any(near)
    };
    let following = text.iter().zip(text.iter().skip(1)).take_while(|(one, other)| is_next(**one, **other)).count();
    if following >= 2 { following + 1 } else { 1 }
}

/// 4 where a year of this or the last century starts, else 1.
fn year(text: &[char]) -> usize {
    match text {
        ['1', '9', a, b, ..] | ['2', '0', a, b, ..] if a.is_ascii_digit() && b.is_ascii_digit() => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_easy_to_guess_leaves_little() {
        let context = words("m.curie@example.org").chain(words("Marie Curie")).collect::<Vec<_>>();
        let guessed = [
            "aaaaaaaaaaaaaaaaaaaa",
            "123456789012345678",
            "qwertyuiopasdfghjkl",
            "abcdefghijklmnopqrs",
            "Password12345678!!!",
            "P@ssw0rdP@ssw0rdP@ssw0rd",
            "xy7xy7xy7xy7xy7xy7",
            "Summer2026!!!!!!!!",
            "hospital-nurse-2026",
            "MarieCurie19671967",
            "ｐａｓｓｗｏｒｄ1234567890",
        ];
        for password in guessed {
            assert!(left(password, &context) < LEAST_LEFT, "{password}: {}", left(password, &context));
        }
        for password in
            ["correct horse battery staple", "кит поёт на крыше дома", "vK8#tLq0z!RrWm2", "tin otter paints slowly"]
        {
            assert!(left(password, &context) >= LEAST_LEFT, "{password}: {}", left(password, &context));
        }
    }

    #[tokio::test]
    async fn a_hash_proves_its_password_however_it_is_composed() {
        let kept = turn().await.unwrap().hash("e\u{301}tincelle du phare").await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        let verify = async |kept: Option<&str>, password: &str| {
            turn().await.unwrap().verify(kept.map(str::to_owned), password).await.unwrap()
        };
        assert!(verify(Some(&kept), "\u{e9}tincelle du phare").await);
        assert!(!verify(Some(&kept), "etincelle du phare").await);
        assert!(!verify(Some(&kept), &"x".repeat(MOST_BYTES + 1)).await);
        assert!(!verify(None, "").await);
        assert!(!verify(Some("not a hash"), "etincelle du phare").await);
    }
}
