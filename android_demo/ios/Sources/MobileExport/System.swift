import Foundation

/// The system that this runs on.
enum System {
  /// By the name that a manifest's `minimum_runtime` has.
  static var name: String {
    #if os(macOS)
      "macOS"
    #elseif os(iOS)
      "iOS"
    #else
      "Linux"
    #endif
  }

  /// Such as `17.5.1`.
  static var version: String {
    let version = ProcessInfo.processInfo.operatingSystemVersion
    return "\(version.majorVersion).\(version.minorVersion).\(version.patchVersion)"
  }

  /// Whether it is as new as an artifact's `minimum_runtime` demands.
  static func runs(_ artifact: Artifact) -> Bool {
    guard let wanted = artifact.minimumRuntime[name], let major = Int(wanted) else { return true }
    return ProcessInfo.processInfo.operatingSystemVersion.majorVersion >= major
  }

  /// The processor's architecture, by the name that parity limits go by.
  static var architecture: String {
    #if arch(arm64)
      "arm64"
    #else
      "x86_64"
    #endif
  }

  /// The device's model, such as `iPhone16,1`.
  static var model: String {
    if let simulated = ProcessInfo.processInfo.environment["SIMULATOR_MODEL_IDENTIFIER"] {
      return simulated
    }
    var facts = utsname()
    uname(&facts)
    return withUnsafeBytes(of: &facts.machine) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// Empty on real hardware.
  static var simulator: String {
    #if targetEnvironment(simulator)
      "\(name) Simulator"
    #else
      ""
    #endif
  }
}
