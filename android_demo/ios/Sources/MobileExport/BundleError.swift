import Foundation

/// Something about a bundle that its user can put right: one sentence each for what, why and what
/// to do next.
public struct BundleError: Error, Equatable, Sendable {
  /// What went wrong.
  public let what: String
  /// The cause; may be empty.
  public let why: String
  /// What to do next; may be empty.
  public let todo: String

  public init(_ what: String, why: String = "", todo: String = "") {
    self.what = what
    self.why = why
    self.todo = todo
  }
}

extension BundleError: CustomStringConvertible, LocalizedError {
  public var description: String {
    [what, why, todo].filter { !$0.isEmpty }.joined(separator: ". ") + "."
  }

  public var errorDescription: String? { description }
}
