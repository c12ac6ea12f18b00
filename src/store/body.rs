//! The stored form of a resource: minified JSON without `meta.versionId` and `meta.lastUpdated`, compressed, with the
//! place where these two are spliced in when it is read. So a read never parses.

use super::{StoreError, StoreResult};
use crate::clock::Micros;
use crate::fhir::tree::{Object, Value};
use crate::fhir::write::{write, write_str};
use std::cell::RefCell;
use std::sync::LazyLock;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

/// The quickest level of zstd's ordinary range; higher ones gain little on bodies of a few kilobytes.
const LEVEL: i32 = 1;
/// Room for `,"meta":{"versionId":"…","lastUpdated":"…"}`.
const SPLICE_ROOM: usize = 96;
/// Scratch memory that a thread keeps between bodies, in bytes.
const KEPT_SCRATCH: usize = 256 * 1024;
/// The first byte of [`Body::packed`]: JSON as it is.
const PLAIN: u8 = 0;
/// The first byte of [`Body::packed`]: a zstd frame made with [`DICTIONARY_1`].
const ZSTD_1: u8 = 1;
/// Element names and well-known URLs as they stand in resources, the most common last. Bodies are small and alike, so that most
/// of their text is found here. Never to be changed: what was written with it needs it. A better one gets another number.
const DICTIONARY_1: &[u8] = include_bytes!("dictionary-1.txt");

static COMPRESSION: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY_1, LEVEL));
static DECOMPRESSION: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY_1));

/// A resource's compressed bytes and where its version is spliced in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Where `versionId` and `lastUpdated` go.
    pub splice: Splice,
    /// One byte for the form (0 plain JSON, 1 zstd with the first dictionary), then the bytes in that form.
    pub packed: Box<[u8]>,
    /// The length of the JSON before compression, in bytes.
    pub plain_len: u32,
}

/// Where, counted in bytes of the plain JSON, the two elements go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splice {
    /// There is no `meta`: a whole one goes here, after a comma.
    WholeMeta(u32),
    /// Right after the opening brace of a `meta` that has other members.
    IntoMeta(u32),
}

impl Splice {
    /// The position in bytes of the plain JSON.
    #[must_use]
    pub const fn position(self) -> u32 {
        match self {
            Self::WholeMeta(at) | Self::IntoMeta(at) => at,
        }
    }
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Body {
    /// Packs a resource. `meta.versionId` and `meta.lastUpdated` are left out, and a `meta` that is empty then too.
    #[must_use]
    pub fn pack(resource: &Object<'_>) -> Self {
        SCRATCH.with_borrow_mut(|plain| {
            plain.clear();
            let splice = write_stored(resource, plain);
            let body = Self { splice, packed: compress(plain), plain_len: length(plain) };
            plain.clear();
            plain.shrink_to(KEPT_SCRATCH);
            body
        })
    }

    /// Packs a resource without compressing it: for one that is made to be read at once.
    #[must_use]
    pub fn uncompressed(resource: &Object<'_>) -> Self {
        let mut packed = vec![PLAIN];
        let splice = match write_stored(resource, &mut packed) {
            Splice::WholeMeta(at) => Splice::WholeMeta(at - 1),
            Splice::IntoMeta(at) => Splice::IntoMeta(at - 1),
        };
        let plain_len = length(&packed) - 1;
        Self { splice, packed: packed.into_boxed_slice(), plain_len }
    }

    /// The resource's JSON with this version and time in its `meta`.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn unpack(&self, version: u64, time: Micros) -> StoreResult<Vec<u8>> {
        let Some((&form, packed)) = self.packed.split_first() else { return Err(damaged()) };
        match form {
            PLAIN => self.splice(packed, version, time),
            ZSTD_1 => SCRATCH.with_borrow_mut(|plain| {
                decompress(packed, self.plain_len as usize, plain)?;
                let json = self.splice(plain, version, time);
                plain.clear();
                plain.shrink_to(KEPT_SCRATCH);
                json
            }),
            _ => Err(StoreError::Damaged("a body of an unknown form".into())),
        }
    }

    /// The same body uncompressed: for one that is looked into before it is sent.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn opened(self) -> StoreResult<Self> {
        let Some((&ZSTD_1, packed)) = self.packed.split_first() else { return Ok(self) };
        let mut plain = Vec::with_capacity(1 + self.plain_len as usize);
        SCRATCH.with_borrow_mut(|scratch| {
            decompress(packed, self.plain_len as usize, scratch)?;
            plain.push(PLAIN);
            plain.extend_from_slice(scratch);
            scratch.clear();
            scratch.shrink_to(KEPT_SCRATCH);
            StoreResult::Ok(())
        })?;
        Ok(Self { packed: plain.into(), ..self })
    }

    /// The JSON as it is stored, of an opened body.
    #[must_use]
    pub fn plain(&self) -> Option<&[u8]> {
        self.packed.split_first().filter(|(form, _)| **form == PLAIN).map(|(_, plain)| plain)
    }

    fn splice(&self, plain: &[u8], version: u64, time: Micros) -> StoreResult<Vec<u8>> {
        let at = self.splice.position() as usize;
        let (Some(before), Some(after)) = (plain.get(..at), plain.get(at..)) else { return Err(damaged()) };
        let mut out = Vec::with_capacity(plain.len() + SPLICE_ROOM);
        out.extend_from_slice(before);
        let (open, close): (&[u8], &[u8]) = match self.splice {
            Splice::WholeMeta(_) => (b",\"meta\":{\"versionId\":\"", b"\"}"),
            Splice::IntoMeta(_) => (b"\"versionId\":\"", b"\","),
        };
        out.extend_from_slice(open);
        push_decimal(version, &mut out);
        out.extend_from_slice(b"\",\"lastUpdated\":\"");
        out.extend_from_slice(time.to_instant().as_bytes());
        out.extend_from_slice(close);
        out.extend_from_slice(after);
        Ok(out)
    }
}

fn damaged() -> StoreError {
    StoreError::Damaged("a body is not of the length that its header says".into())
}

/// Bodies are limited to far less than 4 GiB long before they come here.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn push_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits.iter().skip(digits.len() - used));
}

/// Writes the stored JSON and says where the two elements go. A whole `meta` stands after the `id`, or after the first
/// member where there is no `id`: a resource has at least its `resourceType`.
fn write_stored(resource: &Object<'_>, out: &mut Vec<u8>) -> Splice {
    let anchor = ["id", "resourceType"].into_iter().find(|name| resource.get(name).is_some());
    let mut whole = None;
    let mut inside = None;
    out.push(b'{');
    for (name, value) in resource.iter() {
        let kept = if name == "meta" { kept_meta(value) } else { None };
        if name == "meta" && kept.is_none() {
            continue;
        }
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        write_str(name, out);
        out.push(b':');
        if let Some(meta) = kept {
            inside = Some(length(out) + 1);
            write(&Value::Object(meta), out);
        } else {
            write(value, out);
        }
        if anchor.is_none_or(|anchor| anchor == name) && whole.is_none() {
            whole = Some(length(out));
        }
    }
    let end = length(out);
    out.push(b'}');
    inside.map_or_else(|| Splice::WholeMeta(whole.unwrap_or(end)), Splice::IntoMeta)
}

/// What of a `meta` is stored; `None` where nothing is left.
fn kept_meta<'a>(meta: &Value<'a>) -> Option<Object<'a>> {
    let mut meta = meta.as_object()?.clone();
    meta.retain(|name, _| name != "versionId" && name != "lastUpdated");
    (!meta.is_empty()).then_some(meta)
}

/// One byte for the form, then the bytes. Plain where zstd gains nothing.
fn compress(plain: &[u8]) -> Box<[u8]> {
    let mut packed = vec![ZSTD_1];
    packed.resize(1 + zstd::zstd_safe::compress_bound(plain.len()), 0);
    let written = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::with_prepared_dictionary(&COMPRESSION).ok();
        }
        slot.as_mut()?.compress_to_buffer(plain, packed.get_mut(1..)?).ok()
    });
    match written {
        Some(written) if written < plain.len() => packed.truncate(1 + written),
        _ => {
            packed.clear();
            packed.push(PLAIN);
            packed.extend_from_slice(plain);
        }
    }
    packed.into_boxed_slice()
}

/// Undoes the zstd form into `plain`, which has `plain_len` bytes then.
fn decompress(packed: &[u8], plain_len: usize, plain: &mut Vec<u8>) -> StoreResult<()> {
    plain.clear();
    plain.reserve(plain_len);
    let done = DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Decompressor::with_prepared_dictionary(&DECOMPRESSION).ok();
        }
        slot.as_mut()?.decompress_to_buffer(packed, plain).ok()
    });
    if done == Some(plain_len) { Ok(()) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::parse::parse;

    fn round_trip(json: &str) -> String {
        let value = parse(json.as_bytes(), 64).unwrap();
        let body = Body::pack(value.as_object().unwrap());
        String::from_utf8(body.unpack(12, Micros(0)).unwrap()).unwrap()
    }

    const META: &str = r#""versionId":"12","lastUpdated":"1970-01-01T00:00:00.000000Z""#;

    #[test]
    fn a_meta_is_made_after_the_id() {
        let out = round_trip(r#"{"resourceType":"Patient","id":"a","active":true}"#);
        assert_eq!(out, format!(r#"{{"resourceType":"Patient","id":"a","meta":{{{META}}},"active":true}}"#));
        let out = round_trip(r#"{"resourceType":"Patient","active":true,"id":"a"}"#);
        assert_eq!(out, format!(r#"{{"resourceType":"Patient","active":true,"id":"a","meta":{{{META}}}}}"#));
        let out = round_trip(r#"{"resourceType":"Patient"}"#);
        assert_eq!(out, format!(r#"{{"resourceType":"Patient","meta":{{{META}}}}}"#));
    }

    #[test]
    fn the_two_stand_first_in_a_meta_that_has_more() {
        let out = round_trip(r#"{"resourceType":"Patient","meta":{"versionId":"9","tag":[1.00]},"id":"a"}"#);
        assert_eq!(out, format!(r#"{{"resourceType":"Patient","meta":{{{META},"tag":[1.00]}},"id":"a"}}"#));
    }

    #[test]
    fn a_meta_of_only_the_two_is_made_anew() {
        let out = round_trip(r#"{"resourceType":"Patient","id":"a","meta":{"lastUpdated":"x","versionId":"9"}}"#);
        assert_eq!(out, format!(r#"{{"resourceType":"Patient","id":"a","meta":{{{META}}}}}"#));
    }

    #[test]
    fn long_bodies_shrink_and_damage_is_found() {
        let text = "a ".repeat(2000);
        let json = format!(r#"{{"resourceType":"Basic","id":"a","text":"{text}"}}"#);
        let value = parse(json.as_bytes(), 64).unwrap();
        let mut body = Body::pack(value.as_object().unwrap());
        assert!(body.packed.len() < 200, "{}", body.packed.len());
        assert!(body.unpack(1, Micros(0)).unwrap().len() > 4000);
        let opened = body.clone().opened().unwrap();
        assert_eq!(opened.unpack(1, Micros(0)).unwrap(), body.unpack(1, Micros(0)).unwrap());
        assert_eq!((opened.plain(), body.plain()), (Some(json.as_bytes()), None));
        body.plain_len += 1;
        assert!(matches!(body.clone().opened(), Err(StoreError::Damaged(_))));
        assert!(matches!(body.unpack(1, Micros(0)), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn the_dictionary_is_the_one_that_stored_bodies_need() {
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, DICTIONARY_1);
        assert_eq!(sum.as_ref()[..4], [123, 236, 221, 138], "{:?}", &sum.as_ref()[..4]);
    }

    #[test]
    fn versions_are_written_in_decimal() {
        for number in [0, 7, 10, 999, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
