//! What expressions are evaluated over: nodes of the tree, borrowed, and computed values.

use super::quantity::Quantity;
use super::temporal::Temporal;
use super::types;
use crate::fhir::definitions::Type;
use crate::fhir::tree::{Object, Value};
use rust_decimal::Decimal;
use std::borrow::Cow;

/// The result of an expression: items in order.
pub type Collection<'t> = Vec<Item<'t>>;

/// One item of a collection.
#[derive(Debug, Clone)]
pub enum Item<'t> {
    /// An element or resource, as it stands in the tree.
    Node(Node<'t>),
    /// `System.Boolean`.
    Boolean(bool),
    /// `System.Integer`.
    Integer(i32),
    /// `System.Decimal`; its scale is the precision that was written.
    Decimal(Decimal),
    /// `System.String`.
    String(Cow<'t, str>),
    /// `System.Date`, `System.DateTime` or `System.Time`.
    Temporal(Temporal),
    /// `System.Quantity`.
    Quantity(Quantity<'t>),
    /// What `type()` returns.
    TypeInfo {
        /// `FHIR` or `System`.
        namespace: &'static str,
        /// The name in that namespace.
        name: &'static str,
    },
}

/// A place in the tree: an object, or a primitive together with its `_name` sibling.
#[derive(Debug, Clone, Copy)]
pub struct Node<'t> {
    /// What stands there.
    pub content: Content<'t>,
    /// The `_name` sibling of a primitive, with its `id` and extensions.
    pub sibling: Option<&'t Object<'t>>,
    /// The definition of its FHIR type, where that is known.
    pub definition: Option<&'static Type>,
}

/// What stands at a [`Node`].
#[derive(Debug, Clone, Copy)]
pub enum Content<'t> {
    /// A resource or an element of a complex type.
    Object(&'t Object<'t>),
    /// The value of a primitive.
    Primitive(&'t Value<'t>),
    /// A primitive without a value: it has only the sibling.
    Absent,
}

impl<'t> Item<'t> {
    /// The root of a resource.
    #[must_use]
    pub fn resource(object: &'t Object<'t>) -> Self {
        let definition = object.resource_type().and_then(types::definition);
        Self::Node(Node { content: Content::Object(object), sibling: None, definition })
    }

    /// The node, where this is one.
    #[must_use]
    pub const fn as_node(&self) -> Option<&Node<'t>> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The object, where this is a resource or an element of a complex type.
    #[must_use]
    pub const fn as_object(&self) -> Option<&'t Object<'t>> {
        match self {
            Self::Node(Node { content: Content::Object(object), .. }) => Some(object),
            _ => None,
        }
    }

    /// The text of a string, be it computed or a primitive of the tree that JSON writes as a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Node(Node { content: Content::Primitive(value), .. }) => value.as_str(),
            _ => None,
        }
    }

    /// The truth value of a computed boolean or of a `boolean` of the tree.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) | Self::Node(Node { content: Content::Primitive(Value::Bool(value)), .. }) => {
                Some(*value)
            }
            _ => None,
        }
    }

    /// The FHIR type of a node, where it is known: `Patient`, `HumanName`, `Patient.contact`, `dateTime`.
    #[must_use]
    pub fn type_name(&self) -> Option<&'static str> {
        self.as_node().and_then(Node::type_name)
    }
}

impl<'t> Node<'t> {
    /// The FHIR type, where it is known: `Patient`, `HumanName`, `Patient.contact`, `dateTime`.
    #[must_use]
    pub fn type_name(&self) -> Option<&'static str> {
        self.definition.map(|definition| definition.name)
    }

    /// The JSON value of a primitive, or of a complex element a member of it.
    #[must_use]
    pub fn get(&self, member: &str) -> Option<&'t Value<'t>> {
        match self.content {
            Content::Object(object) => object.get(member),
            Content::Primitive(_) | Content::Absent => None,
        }
    }

    /// The value of a primitive.
    #[must_use]
    pub const fn primitive(&self) -> Option<&'t Value<'t>> {
        match self.content {
            Content::Primitive(value) => Some(value),
            Content::Object(_) | Content::Absent => None,
        }
    }
}
