import Foundation

/// `golden.json`: the texts that every device replays, with the ids that they must give.
public struct Golden: Sendable {
  public static let path = "golden.json"
  public static let schemaVersion = 1

  /// One text. What a device has no use for, such as PyTorch's logits, is passed over.
  public struct Case: Decodable, Sendable {
    /// Unique, such as `validation/17`.
    public let name: String
    /// `validation`, `unlabelled`, `boundary` or `awkward`.
    public let set: String
    /// Half surrogate pairs are already the manifest's `lone_surrogates`.
    public let text: String
    public let ids: [Int32]

    private enum CodingKeys: String, CodingKey {
      case name, set, text
      case ids = "input_ids"
    }
  }

  private struct File: Decodable {
    let version: Int
    let cases: [Case]

    private enum CodingKeys: String, CodingKey {
      case cases
      case version = "schema_version"
    }
  }

  public let cases: [Case]

  /// Reads a bundle's golden file.
  ///
  /// - Throws: `BundleError` if it cannot be read or has another schema version.
  public init(bundle: ModelBundle) throws {
    let json = try bundle.data(Golden.path)
    let whole = replacingLoneSurrogates(
      in: json, with: bundle.manifest.tokenizer.loneSurrogates)
    let file: File
    do {
      file = try JSONDecoder().decode(File.self, from: whole)
    } catch {
      throw BundleError("\(Golden.path) is not a golden file", todo: "export the bundle again")
    }
    if file.version != Golden.schemaVersion {
      throw BundleError("\(Golden.path) has the schema version \(file.version)")
    }
    cases = file.cases
  }
}

/// Writes another text for each escaped half of a surrogate pair in some JSON, such as `\ud800`:
/// Foundation refuses them, and a Swift string cannot hold them.
func replacingLoneSurrogates(in json: Data, with replacement: String) -> Data {
  let input = [UInt8](json)
  let escaped = replacement.utf16.flatMap { unit in
    // Four digits: the number has a fifth in front.
    Array("\\u".utf8) + String(0x10000 + UInt32(unit), radix: 16).utf8.dropFirst()
  }
  var output = Data(capacity: input.count)
  var place = 0
  /// The UTF-16 code unit that is escaped at a place.
  func unit(at place: Int) -> UInt16? {
    guard place + 6 <= input.count, input[place] == UInt8(ascii: "\\"),
      input[place + 1] == UInt8(ascii: "u")
    else { return nil }
    return UInt16(String(decoding: input[place + 2..<place + 6], as: UTF8.self), radix: 16)
  }
  while place < input.count {
    guard input[place] == UInt8(ascii: "\\") else {
      output.append(input[place])
      place += 1
      continue
    }
    guard let first = unit(at: place) else {
      // Another escape: its second character must not begin a new one.
      output.append(contentsOf: input[place..<min(place + 2, input.count)])
      place += 2
      continue
    }
    let second = unit(at: place + 6)
    let isPair = UTF16.isLeadSurrogate(first) && second.map(UTF16.isTrailSurrogate) == true
    let isLone = !isPair && (0xD800...0xDFFF).contains(first)
    let length = isPair ? 12 : 6
    output.append(contentsOf: isLone ? escaped[...] : input[place..<place + length])
    place += length
  }
  return output
}
