/// What can be wrong with a request, found on the host before any tensor is touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a device's name.
    #[error(
        "there is no device {name:?}; give cpu, cuda, rocm, metal, vulkan or wgpu, the last five with :0, :1, … where \
         there are several"
    )]
    UnknownDevice {
        /// What was given.
        name: String,
    },
    /// A device that this program was built without.
    #[error(
        "this program was built without {feature}; build it with `--features didact/{feature}`"
    )]
    DeviceNotBuilt {
        /// The feature that it lacks.
        feature: String,
    },
    /// A device that this machine does not have, or that its driver does not show.
    #[error(
        "this machine has no {device}: {found} {family} devices are found; is the driver installed?"
    )]
    NoSuchDevice {
        /// What was asked for.
        device: String,
        /// Its kind, as a device's name says it.
        family: String,
        /// How many of that kind there are.
        found: usize,
    },
    /// A packed sequence needs at least one segment.
    #[error("a packed layout needs at least one segment, got none")]
    NoSegments,
    /// Segments hold one token or more; leave an empty one out.
    #[error("segment {segment} has no tokens; leave empty segments out of the layout")]
    EmptySegment {
        /// Index of the segment in the list given.
        segment: usize,
    },
    /// Parents stand before their children.
    #[error(
        "segment {segment} names segment {parent} as its parent; a parent must stand before its child"
    )]
    ParentNotBefore {
        /// Index of the child in the list given.
        segment: usize,
        /// The parent it named.
        parent: usize,
    },
    /// Token counts and positions are kept as 32-bit signed integers on devices.
    #[error("segment {segment} brings the packed sequence to more than {limit} tokens; split it")]
    TooLong {
        /// The segment at which the count passed the limit.
        segment: usize,
        /// The largest count allowed.
        limit: usize,
    },
    /// A run's own keys lie in its last slots.
    #[error("run {run} of a cache layout has {rows} rows but only {slots} slots")]
    TooFewSlots {
        /// Index of the run.
        run: usize,
        /// Its rows.
        rows: usize,
        /// Its slots.
        slots: usize,
    },
    /// The scales and minima of a quantised matrix are f16.
    #[error(
        "the weight of input {input} and output {output} is {value}; only finite weights up to ±65504 can be quantised"
    )]
    NotQuantisable {
        /// The weight's row.
        input: usize,
        /// The weight's column.
        output: usize,
        /// What stands there.
        value: String,
    },
    /// Codes, scales and minima must be those of the shape.
    #[error("a quantised matrix of this shape needs {expected} {what}, got {found}")]
    QuantisedLength {
        /// What is counted.
        what: &'static str,
        /// How many the shape needs.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// Every projected row needs exactly one target.
    #[error("{rows} rows to project but {targets} targets; give one target for each row")]
    TargetCount {
        /// Number of rows given.
        rows: usize,
        /// Number of targets given.
        targets: usize,
    },
    /// A row lies outside the hidden states.
    #[error("entry {entry} projects row {row}, but there are {rows} hidden rows")]
    RowOutOfRange {
        /// Place in the list of rows.
        entry: usize,
        /// The row it named.
        row: usize,
        /// Number of hidden rows.
        rows: usize,
    },
    /// A target lies outside the vocabulary.
    #[error("entry {entry} has target {target}, but the vocabulary has {vocabulary} tokens")]
    TargetOutOfRange {
        /// Place in the list of targets.
        entry: usize,
        /// The target it named.
        target: usize,
        /// Number of tokens in the vocabulary.
        vocabulary: usize,
    },
}
