/// The tables of `UnicodeTables`, unpacked once.
///
/// They are what Hugging Face's tokenizers do, and do not change with the system: Swift's own
/// Unicode properties follow the version of iOS.
enum PackedTables {
  static let cleanDropped = CodePointSet(UnicodeTables.cleanDropped)
  static let cleanSpaces = CodePointSet(UnicodeTables.cleanSpaces)
  static let chinese = CodePointSet(UnicodeTables.chinese)
  static let accents = CodePointSet(UnicodeTables.accents)
  static let whitespace = CodePointSet(UnicodeTables.whitespace)
  static let punctuation = CodePointSet(UnicodeTables.punctuation)
  static let wordCharacters = CodePointSet(UnicodeTables.wordCharacters)
  static let combiningRanks = CodePointRanks(UnicodeTables.combiningRanks)
  static let decompositions = mapping(UnicodeTables.decompositions)
  static let lowercase = mapping(UnicodeTables.lowercase)

  private static func mapping(_ packed: String) -> [UInt32: [UInt32]] {
    var numbers = PackedNumbers(packed)
    var result: [UInt32: [UInt32]] = [:]
    var key = 0
    var last = [0, 0, 0, 0]
    while let step = numbers.next() {
      key += step
      let count = numbers.next() ?? 0
      for place in 0..<count {
        let coded = numbers.next() ?? 0
        last[place] += coded.isMultiple(of: 2) ? coded / 2 : -(coded + 1) / 2
      }
      result[UInt32(key)] = last.prefix(count).map(UInt32.init)
    }
    return result
  }
}

/// Some code points.
struct CodePointSet {
  private let ranges: CodePointRanks

  init(_ packed: String) {
    ranges = CodePointRanks(packed, ranked: false)
  }

  func contains(_ point: UInt32) -> Bool { ranges[point] != 0 }
}

/// A number for each code point; 0 for most.
struct CodePointRanks {
  private var ranges: [(range: ClosedRange<UInt32>, rank: Int)] = []

  /// - Parameter ranked: Whether a rank follows each range; else it is 1.
  init(_ packed: String, ranked: Bool = true) {
    var numbers = PackedNumbers(packed)
    var end = 0
    while let gap = numbers.next(), let more = numbers.next() {
      let range = UInt32(end + gap)...UInt32(end + gap + more)
      ranges.append((range, ranked ? numbers.next() ?? 0 : 1))
      end += gap + more + 1
    }
  }

  subscript(point: UInt32) -> Int {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].range.upperBound < point {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low < ranges.count && ranges[low].range.contains(point) ? ranges[low].rank : 0
  }
}

/// Numbers in base64url's characters, five bits each, lowest first; 32 is added to all but a
/// number's last. Line breaks mean nothing.
private struct PackedNumbers {
  private var bytes: Substring.UTF8View

  init(_ packed: String) { bytes = Substring(packed).utf8 }

  mutating func next() -> Int? {
    var (value, shift) = (0, 0)
    while let byte = bytes.popFirst() {
      let group: UInt8
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): group = byte - UInt8(ascii: "A")
      case UInt8(ascii: "a")...UInt8(ascii: "z"): group = byte - UInt8(ascii: "a") + 26
      case UInt8(ascii: "0")...UInt8(ascii: "9"): group = byte - UInt8(ascii: "0") + 52
      case UInt8(ascii: "-"): group = 62
      case UInt8(ascii: "_"): group = 63
      default: continue
      }
      value |= Int(group % 32) << shift
      if group < 32 { return value }
      shift += 5
    }
    return nil
  }
}
