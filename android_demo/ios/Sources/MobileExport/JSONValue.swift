import Foundation

/// Any JSON value.
enum JSONValue: Decodable, Equatable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Int.self) {
      self = .integer(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSONValue].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSONValue].self))
    }
  }
}

/// Reads a JSON object field by field, and refuses a field that nobody asked for.
struct ObjectReader {
  private let fields: [String: JSONValue]
  private let place: String
  private var asked: Set<String> = []

  /// - Throws: `BundleError` if the value is not an object.
  init(_ value: JSONValue, at place: String) throws {
    guard case .object(let fields) = value else {
      throw BundleError("\(place) is not a JSON object")
    }
    self.fields = fields
    self.place = place
  }

  /// Whether a field is there.
  func has(_ name: String) -> Bool { fields[name] != nil }

  /// Passes over a field that must be there and that an app has no use for.
  mutating func skip(_ name: String) throws {
    _ = try value(name)
  }

  mutating func string(_ name: String) throws -> String {
    guard case .string(let text) = try value(name) else { throw wrongType(name, "a string") }
    return text
  }

  mutating func optionalString(_ name: String) throws -> String? {
    try isNull(name) ? nil : string(name)
  }

  mutating func integer(_ name: String) throws -> Int {
    guard case .integer(let number) = try value(name) else { throw wrongType(name, "an integer") }
    return number
  }

  mutating func optionalBool(_ name: String) throws -> Bool? {
    if try isNull(name) { return nil }
    guard case .bool(let flag) = try value(name) else { throw wrongType(name, "true or false") }
    return flag
  }

  /// A string that must be one of an enumeration's.
  mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, of _: Choice.Type
  ) throws -> Choice where Choice.RawValue == String {
    let text = try string(name)
    guard let found = Choice(rawValue: text) else {
      let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
      throw BundleError("\(place).\(name) is '\(text)'", why: "it must be one of \(known)")
    }
    return found
  }

  mutating func optionalChoice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, of kind: Choice.Type
  ) throws -> Choice? where Choice.RawValue == String {
    try isNull(name) ? nil : choice(name, of: kind)
  }

  /// A list, each element read by `element`, which gets the value and its place.
  mutating func list<Element>(
    _ name: String, _ element: (JSONValue, String) throws -> Element
  ) throws -> [Element] {
    guard case .array(let values) = try value(name) else { throw wrongType(name, "a list") }
    return try values.enumerated().map { try element($1, "\(place).\(name)[\($0)]") }
  }

  mutating func optionalList<Element>(
    _ name: String, _ element: (JSONValue, String) throws -> Element
  ) throws -> [Element]? {
    try isNull(name) ? nil : list(name, element)
  }

  mutating func object<Result>(
    _ name: String, _ read: (JSONValue, String) throws -> Result
  ) throws -> Result {
    try read(value(name), "\(place).\(name)")
  }

  /// - Throws: `BundleError` if the object has a field that was not read.
  func end() throws {
    if let unknown = fields.keys.filter({ !asked.contains($0) }).min() {
      throw BundleError("\(place) has the unknown field '\(unknown)'")
    }
  }

  private mutating func value(_ name: String) throws -> JSONValue {
    asked.insert(name)
    guard let value = fields[name] else { throw BundleError("\(place) lacks the field '\(name)'") }
    return value
  }

  private mutating func isNull(_ name: String) throws -> Bool { try value(name) == .null }

  private func wrongType(_ name: String, _ wanted: String) -> BundleError {
    BundleError("\(place).\(name) has the wrong type", why: "expected \(wanted)")
  }
}

extension JSONValue {
  func string(at place: String) throws -> String {
    guard case .string(let text) = self else { throw BundleError("\(place) is not a string") }
    return text
  }

  func integer(at place: String) throws -> Int {
    guard case .integer(let number) = self else { throw BundleError("\(place) is not an integer") }
    return number
  }

  /// A whole number is a fine one, too.
  func double(at place: String) throws -> Double {
    switch self {
    case .integer(let number): return Double(number)
    case .number(let number): return number
    default: throw BundleError("\(place) is not a number")
    }
  }
}
