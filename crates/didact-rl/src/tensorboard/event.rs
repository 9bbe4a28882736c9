//! `Event` messages in protobuf's wire format.
//!
//! Owns the few fields that are written: file version, start of a session, scalars and texts.

/// A field's number and wire type, as protobuf numbers them.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

/// A message under construction.
#[derive(Debug, Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire: Wire) {
        self.varint(field << 3 | wire as u64);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.key(field, Wire::Varint);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, Wire::Fixed64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, Wire::Fixed32);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.key(field, Wire::Bytes);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }
}

/// A tagged value of a summary.
#[derive(Debug, Clone)]
pub(super) struct Value(Message);

impl Value {
    pub(super) fn scalar(tag: &str, value: f32) -> Self {
        Self(Message::default().bytes(1, tag.as_bytes()).float(2, value))
    }

    /// Shown as Markdown by the plugin for texts, which takes a tensor of strings with one dimension.
    pub(super) fn text(tag: &str, text: impl AsRef<str>) -> Self {
        const STRINGS: u64 = 7;
        const TENSOR_CLASS: u64 = 2;
        let shape = Message::default().message(2, &Message::default().number(1, 1));
        let tensor = Message::default()
            .number(1, STRINGS)
            .message(2, &shape)
            .bytes(8, text.as_ref().as_bytes());
        let plugin = Message::default().bytes(1, b"text");
        let metadata = Message::default()
            .message(1, &plugin)
            .number(4, TENSOR_CLASS);
        let value = Message::default().bytes(1, tag.as_bytes());
        Self(value.message(8, &tensor).message(9, &metadata))
    }
}

/// One entry of an event file.
#[derive(Debug, Clone)]
pub(super) struct Event(Message);

impl Event {
    /// The first event of a file.
    pub(super) fn version(wall_time: f64) -> Self {
        let event = Message::default().double(1, wall_time);
        Self(event.bytes(3, b"brain.Event:2"))
    }

    /// Makes readers forget what earlier files hold of `step` and later ones.
    pub(super) fn start(wall_time: f64, step: u64) -> Self {
        const START: u64 = 1;
        let log = Message::default().number(1, START);
        Self(Self::at(wall_time, step).message(7, &log))
    }

    pub(super) fn summary(wall_time: f64, step: u64, values: Vec<Value>) -> Self {
        let mut summary = Message::default();
        for value in values {
            summary = summary.message(1, &value.0);
        }
        Self(Self::at(wall_time, step).message(5, &summary))
    }

    fn at(wall_time: f64, step: u64) -> Message {
        Message::default().double(1, wall_time).number(2, step)
    }

    pub(super) fn encode(&self) -> &[u8] {
        &self.0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(event: &Event) -> String {
        event.encode().iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn events_to_the_byte() {
        // SerializeToString() of the same messages of tensorboard 2.21.0.
        assert_eq!(
            hex(&Event::version(1.5)),
            "09000000000000f83f1a0d627261696e2e4576656e743a32"
        );
        assert_eq!(
            hex(&Event::start(1.5, 300)),
            "09000000000000f83f10ac023a020801"
        );
        let values = vec![Value::scalar("reward", -0.25), Value::scalar("kl", 2.0)];
        assert_eq!(
            hex(&Event::summary(1.5, 7, values)),
            "09000000000000f83f10072a1a0a0d0a0672657761726415000080be0a090a026b6c1500000040"
        );
        let text = vec![Value::text("warnings", "a < b")];
        assert_eq!(
            hex(&Event::summary(1.5, 7, text)),
            "09000000000000f83f10072a290a270a087761726e696e6773420f0807120412020801420561203c20624a0a0a060a04746578742002"
        );
    }
}
