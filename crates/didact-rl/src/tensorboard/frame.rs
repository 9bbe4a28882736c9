//! TFRecord frames: `length u64`, masked CRC-32C of it, payload, masked CRC-32C of it, all little-endian.

/// A payload in its frame.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut frame = Vec::with_capacity(payload.len() + 16);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&masked(crc32c(&length)).to_le_bytes());
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&masked(crc32c(payload)).to_le_bytes());
    frame
}

/// A sum of data that holds sums would be weak, so the format rotates it and adds a constant.
const fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, RFC 3720), which is not the CRC-32 of zip and PNG.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| (crc >> 8) ^ TABLE[((crc ^ u32::from(byte)) & 0xff) as usize];
    !bytes.iter().fold(!0, step)
}

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    /// The polynomial, its bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        // RFC 3720, B.4, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_frame_to_the_byte() {
        // tensorboard 2.21.0: RecordWriter(file).write(b"abc").
        let expected = "0300000000000000b099490e6162636e57f121";
        let found: String = frame(b"abc").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, expected);
    }
}
