//! Positions on earth: `g row longitude latitude`, where rows of a tenth of a degree of latitude lie side by side, so that a
//! circle is a few short ranges of keys, and the exact distance is checked on each key.
//!
//! <https://hl7.org/fhir/R4/location.html#positional>

use super::bytes::Parts;
use super::range::{Bound, KeyRange, Step, Test};
use crate::fhir::tree::{Object, Value};

/// The parameter that searches by position.
pub const NEAR: &str = "near";
/// The radius of the earth in metres, as a sphere.
const EARTH_M: f64 = 6_371_008.8;
/// Steps of one degree in a key: about a centimetre each.
const STEPS: f64 = 1e7;
/// Rows of one degree of latitude.
const ROWS: f64 = 10.0;
/// A circle over more rows than these is one range.
const ROWS_MAX: u16 = 128;
/// The bytes of the kind and the row.
const BEFORE_LONGITUDE: usize = 3;

/// A place, in ten-millionths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    latitude: i32,
    longitude: i32,
}

/// A circle around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circle {
    centre: Position,
    radius_mm: u64,
}

impl Position {
    /// A place by its degrees; `None` where there is no such place.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "180 degrees are 1.8e9 steps")]
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let is_on_earth = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        let steps = |degrees: f64| (degrees * STEPS).round() as i32;
        is_on_earth.then(|| Self { latitude: steps(latitude), longitude: steps(longitude) })
    }

    fn degrees(self) -> (f64, f64) {
        (f64::from(self.latitude) / STEPS, f64::from(self.longitude) / STEPS)
    }

    /// The distance in metres, over the sphere.
    #[must_use]
    pub fn distance_m(self, other: Self) -> f64 {
        let ((a, from), (b, to)) = (self.degrees(), other.degrees());
        let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let chord = half(b - a) + a.to_radians().cos() * b.to_radians().cos() * half(to - from);
        2.0 * EARTH_M * chord.sqrt().min(1.0).asin()
    }
}

/// Adds the part of a `Location`.
pub fn parts(out: &mut Parts, location: &Object<'_>) {
    let position = location.get("position").and_then(Value::as_object);
    let degrees = |name| match position?.get(name)? {
        Value::Number(number) => number.parse::<f64>().ok(),
        _ => None,
    };
    if let (Some(latitude), Some(longitude)) = (degrees("latitude"), degrees("longitude"))
        && let Some(position) = Position::new(latitude, longitude)
    {
        out.add(b'g', |bytes| {
            bytes.extend_from_slice(&row(latitude).to_be_bytes());
            bytes.extend_from_slice(&sortable(position.longitude));
            bytes.extend_from_slice(&sortable(position.latitude));
        });
    }
}

const fn sortable(steps: i32) -> [u8; 4] {
    (steps.cast_unsigned() ^ (1 << 31)).to_be_bytes()
}

const fn unsorted(bytes: [u8; 4]) -> i32 {
    (u32::from_be_bytes(bytes) ^ (1 << 31)).cast_signed()
}

/// The row in which a latitude lies, from the south.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "180 degrees are 1,800 rows")]
fn row(latitude: f64) -> u16 {
    ((latitude.clamp(-90.0, 90.0) + 90.0) * ROWS) as u16
}

/// The ranges of the places in a circle.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a circle is no larger than the earth")]
pub fn matching(centre: Position, radius_m: f64) -> Vec<KeyRange> {
    let radius_m = radius_m.clamp(0.0, EARTH_M * 4.0);
    let circle = Circle { centre, radius_mm: (radius_m * 1000.0).round() as u64 };
    let (latitude, longitude) = centre.degrees();
    // A little more than the circle: the test on each key is exact.
    let angle = radius_m / EARTH_M * 1.000_001 + 1e-8;
    let (south, north) = (latitude - angle.to_degrees(), latitude + angle.to_degrees());
    let (first, last) = (row(south), row(north));
    if last - first > ROWS_MAX {
        return vec![tested(KeyRange::through(&[in_row(first, None), in_row(last, None)]), circle)];
    }
    let spans = if south <= -90.0 || north >= 90.0 {
        vec![(-180.0, 180.0)]
    } else {
        let reach = (angle.sin() / latitude.to_radians().cos()).min(1.0).asin().to_degrees();
        spans(longitude - reach, longitude + reach)
    };
    let rows = (first..=last).flat_map(|row| spans.iter().map(move |span| (row, *span)));
    let range =
        |(row, (west, east))| tested(KeyRange::through(&[in_row(row, Some(west)), in_row(row, Some(east))]), circle);
    rows.map(range).collect()
}

/// A span of longitudes, in two where it crosses the line of 180 degrees.
fn spans(west: f64, east: f64) -> Vec<(f64, f64)> {
    if west < -180.0 {
        vec![(-180.0, east), (west + 360.0, 180.0)]
    } else if east > 180.0 {
        vec![(west, 180.0), (-180.0, east - 360.0)]
    } else {
        vec![(west, east)]
    }
}

fn in_row(row: u16, longitude: Option<f64>) -> Vec<u8> {
    let mut bytes = vec![b'g'];
    bytes.extend_from_slice(&row.to_be_bytes());
    if let Some(place) = longitude.and_then(|longitude| Position::new(0.0, longitude)) {
        bytes.extend_from_slice(&sortable(place.longitude));
    }
    bytes
}

fn tested(range: KeyRange, circle: Circle) -> KeyRange {
    range.bounded(Bound { at: vec![Step::Bytes(BEFORE_LONGITUDE)], test: Test::Near(circle) })
}

impl Circle {
    /// Whether the place that the rest of a key gives is in the circle.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "the earth has fewer millimetres than an f64 holds exactly")]
    pub fn holds(&self, rest: &[u8]) -> bool {
        let Some((longitude, rest)) = rest.split_first_chunk() else { return false };
        let Some((latitude, _)) = rest.split_first_chunk() else { return false };
        let place = Position { latitude: unsorted(*latitude), longitude: unsorted(*longitude) };
        self.centre.distance_m(place) * 1000.0 <= self.radius_mm as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(latitude: f64, longitude: f64) -> Vec<u8> {
        let mut object = Object::new();
        let mut position = Object::new();
        position.set("latitude", Value::Number(latitude.to_string().into()));
        position.set("longitude", Value::Number(longitude.to_string().into()));
        object.set("position", Value::Object(position));
        let mut out = Parts::default();
        parts(&mut out, &object);
        out.iter().next().unwrap().to_vec()
    }

    #[test]
    fn known_distances() {
        let at = |latitude, longitude| Position::new(latitude, longitude).unwrap();
        let (london, paris) = (at(51.5074, -0.1278), at(48.8566, 2.3522));
        assert!((london.distance_m(paris) - 343_556.0).abs() < 100.0, "{}", london.distance_m(paris));
        assert!((at(0.0, 179.5).distance_m(at(0.0, -179.5)) - 111_195.0).abs() < 5.0);
        assert!(Position::new(91.0, 0.0).is_none() && Position::new(0.0, f64::NAN).is_none());
    }

    proptest! {
        #[test]
        fn the_ranges_hold_what_the_circle_holds(
            (lat, lon) in (-90.0..90.0_f64, -180.0..180.0_f64),
            (north, east) in (-3.0..3.0_f64, -200.0..200.0_f64),
            radius in prop_oneof![Just(0.0), 1.0..1000.0, 1000.0..1e6, 1e6..2.5e7],
        ) {
            let (other_lat, other_lon) = ((lat + north).clamp(-90.0, 90.0), (lon + east + 540.0).rem_euclid(360.0) - 180.0);
            let centre = Position::new(lat, lon).unwrap();
            let is_in = centre.distance_m(Position::new(other_lat, other_lon).unwrap()) * 1000.0 <= (radius * 1000.0_f64).round();
            let key = key(other_lat, other_lon);
            prop_assert_eq!(matching(centre, radius).iter().any(|range| range.holds(&key)), is_in);
        }
    }
}
