import Foundation

#if canImport(CryptoKit)
  import CryptoKit

  /// Hex SHA-256 of some bytes.
  func sha256(_ data: Data) -> String {
    hex(SHA256.hash(data: data))
  }
#else
  // CryptoKit is Apple's. Elsewhere, where the package is only tested, this takes its place.

  /// Hex SHA-256 of some bytes, by FIPS 180-4.
  func sha256(_ data: Data) -> String {
    var state: [UInt32] = [
      0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a,
      0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    let whole = data.count / 64 * 64
    data.withUnsafeBytes { bytes in
      for start in stride(from: 0, to: whole, by: 64) {
        compress(UnsafeRawBufferPointer(rebasing: bytes[start..<start + 64]), into: &state)
      }
    }
    var tail = Array(data.suffix(data.count - whole)) + [0x80]
    tail += [UInt8](repeating: 0, count: (120 - tail.count) % 64)
    tail += withUnsafeBytes(of: (UInt64(data.count) * 8).bigEndian, Array.init)
    tail.withUnsafeBytes { bytes in
      for start in stride(from: 0, to: bytes.count, by: 64) {
        compress(UnsafeRawBufferPointer(rebasing: bytes[start..<start + 64]), into: &state)
      }
    }
    return hex(state.flatMap { word in withUnsafeBytes(of: word.bigEndian, Array.init) })
  }

  private func compress(_ block: UnsafeRawBufferPointer, into state: inout [UInt32]) {
    var words = (0..<16).map {
      UInt32(bigEndian: block.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self))
    }
    for i in 16..<64 {
      let (a, b) = (words[i - 15], words[i - 2])
      let first = rotated(a, 7) ^ rotated(a, 18) ^ (a >> 3)
      let second = rotated(b, 17) ^ rotated(b, 19) ^ (b >> 10)
      words.append(words[i - 16] &+ first &+ words[i - 7] &+ second)
    }
    var (a, b, c, d) = (state[0], state[1], state[2], state[3])
    var (e, f, g, h) = (state[4], state[5], state[6], state[7])
    for i in 0..<64 {
      let mixed = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
      let first = h &+ mixed &+ ((e & f) ^ (~e & g)) &+ roundConstants[i] &+ words[i]
      let second =
        (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) &+ ((a & b) ^ (a & c) ^ (b & c))
      (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
    }
    for (i, word) in [a, b, c, d, e, f, g, h].enumerated() { state[i] &+= word }
  }

  private func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 {
    (word >> count) | (word << (32 - count))
  }

  /// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
  private let roundConstants: [UInt32] = {
    let primes = (2...311).filter { n in !(2..<n).contains { n.isMultiple(of: $0) } }
    return primes.map { prime in
      // Exact in integers: the largest r with r³ ≤ prime · 2^96, whose low half is the fraction.
      var root: UInt64 = 0
      for bit in (0..<35).reversed() {
        let candidate = root | (1 << UInt64(bit))
        let square = candidate.multipliedFullWidth(by: candidate)
        let low = square.low.multipliedFullWidth(by: candidate)
        let high = square.high &* candidate &+ low.high
        if high < UInt64(prime) << 32 { root = candidate }
      }
      return UInt32(truncatingIfNeeded: root)
    }
  }()
#endif

private func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { byte in
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
  }.joined()
}
