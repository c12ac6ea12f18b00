//! The resource tree: JSON that keeps member order and the text of every number.
//!
//! <https://hl7.org/fhir/R4/json.html>. A tree borrows from the bytes it was parsed from wherever a string
//! has no escapes, so reading costs one pass and few allocations; edits put owned text beside borrowed text.

use std::borrow::Cow;

/// One JSON value. Numbers are kept as text: `1.00` stays `1.00`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`, which FHIR allows only as a place holder in arrays of primitives.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// The text of a number, as it was sent.
    Number(Cow<'a, str>),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// The members of a JSON object in the order in which they were sent. Names are unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// An empty object.
    #[must_use]
    pub const fn new() -> Self {
        Self { members: Vec::new() }
    }

    /// The member called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The member called `name`, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value<'a>> {
        self.members.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text of the string member called `name`.
    #[must_use]
    pub fn str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Sets a member: in its place where it exists, else at the end.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: Value<'a>) {
        let name = name.into();
        match self.get_mut(&name) {
            Some(place) => *place = value,
            None => self.members.push((name, value)),
        }
    }

    /// Sets a member: in its place where it exists, else at `position` (or the end, where that is nearer).
    pub fn insert_at(&mut self, position: usize, name: impl Into<Cow<'a, str>>, value: Value<'a>) {
        let name = name.into();
        match self.get_mut(&name) {
            Some(place) => *place = value,
            None => self.members.insert(position.min(self.members.len()), (name, value)),
        }
    }

    /// Adds a member whose name is known to be new.
    pub(crate) fn push(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        self.members.push((name, value));
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Value<'a>> {
        let position = self.position(name)?;
        Some(self.members.remove(position).1)
    }

    /// Where the member called `name` stands.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|(key, _)| key == name)
    }

    /// The members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value<'a>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// The members in order, to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Value<'a>)> {
        self.members.iter_mut().map(|(name, value)| (&**name, value))
    }

    /// Keeps only the members for which `keep` answers true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value<'a>) -> bool) {
        self.members.retain(|(name, value)| keep(name, value));
    }

    /// The number of members.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The resource type, where this object is a resource.
    #[must_use]
    pub fn resource_type(&self) -> Option<&str> {
        self.str("resourceType")
    }

    /// The logical id, where this object is a resource that has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.str("id")
    }

    /// The same tree with all text owned.
    #[must_use]
    pub fn into_owned(self) -> Object<'static> {
        let own = |(name, value): (Cow<'a, str>, Value<'a>)| (Cow::Owned(name.into_owned()), value.into_owned());
        Object { members: self.members.into_iter().map(own).collect() }
    }
}

impl<'a> FromIterator<(Cow<'a, str>, Value<'a>)> for Object<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, Value<'a>)>>(members: I) -> Self {
        let mut object = Self::new();
        for (name, value) in members {
            object.set(name, value);
        }
        object
    }
}

impl<'a> Value<'a> {
    /// The text, where this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The object, where this is one.
    #[must_use]
    pub const fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The object, to be changed.
    pub const fn as_object_mut(&mut self) -> Option<&mut Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The items, where this is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The items, to be changed.
    pub const fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The member called `name`, where this is an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// The items of an array, or the value itself as the only item.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            single => std::slice::from_ref(single),
        }
    }

    /// What the JSON specification calls this kind of value, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// The same tree with all text owned.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(text) => Value::Number(Cow::Owned(text.into_owned())),
            Self::String(text) => Value::String(Cow::Owned(text.into_owned())),
            Self::Array(items) => Value::Array(items.into_iter().map(Value::into_owned).collect()),
            Self::Object(object) => Value::Object(object.into_owned()),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Number(Cow::Owned(value.to_string()))
    }
}

impl<'a> From<Object<'a>> for Value<'a> {
    fn from(object: Object<'a>) -> Self {
        Self::Object(object)
    }
}

impl From<Vec<Self>> for Value<'_> {
    fn from(items: Vec<Self>) -> Self {
        Self::Array(items)
    }
}

/// Builds a [`Value`] in the notation of JSON; interpolated parts are anything `Value: From<_>`.
///
/// ```
/// let who = "Eve".to_owned();
/// let value = pharos::tree!({ "resourceType": "Patient", "active": true, "name": [{ "family": (who) }] });
/// assert_eq!(value.get("resourceType").and_then(|v| v.as_str()), Some("Patient"));
/// ```
#[macro_export]
macro_rules! tree {
    (null) => { $crate::fhir::tree::Value::Null };
    ([ $( $item:tt ),* $(,)? ]) => {
        $crate::fhir::tree::Value::Array(vec![ $( $crate::tree!($item) ),* ])
    };
    ({ $( $name:literal : $value:tt ),* $(,)? }) => {{
        #[allow(unused_mut)]
        let mut object = $crate::fhir::tree::Object::new();
        $( object.set($name, $crate::tree!($value)); )*
        $crate::fhir::tree::Value::Object(object)
    }};
    (( $value:expr )) => { $crate::fhir::tree::Value::from($value) };
    ($value:literal) => { $crate::fhir::tree::Value::from($value) };
}
