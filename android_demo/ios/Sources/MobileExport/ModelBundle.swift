import Foundation

/// A bundle's folder, whose manifest was read and whose files are, byte for byte, what it promises.
public struct ModelBundle: Sendable {
  // A manifest is a few kilobytes; a larger one is an attack or a mistake.
  private static let largestManifest = 16 << 20

  public let folder: URL
  public let manifest: Manifest
  /// The artifacts of the format that was asked for, smallest first.
  public let artifacts: [Artifact]

  /// Opens a bundle and compares every file with the size and SHA-256 in the manifest.
  ///
  /// - Parameters:
  ///   - folder: The bundle's folder. In an Xcode project, add it as a folder reference, so that it
  ///     is copied as it is.
  ///   - format: Of the artifacts to use; those of another format may be left out of the app.
  /// - Throws: `BundleError` for whatever is missing, changed or not allowed.
  public init(folder: URL, format: String = "coreml") throws {
    let file = folder.appendingPathComponent("manifest.json")
    guard let json = try? Data(contentsOf: file) else {
      throw BundleError(
        "\(folder.path) is not a bundle", why: "it has no manifest.json that can be read",
        todo: "copy the whole folder that the exporter wrote")
    }
    if json.count > ModelBundle.largestManifest {
      throw BundleError("\(file.path) is larger than \(ModelBundle.largestManifest) bytes")
    }
    self.folder = folder
    manifest = try Manifest(json: json)
    artifacts = manifest.artifacts.filter { $0.format == format }.sorted { $0.bytes < $1.bytes }
    if artifacts.isEmpty {
      throw BundleError(
        "the bundle has no \(format) artifact", todo: "export it with: make export TARGET=\(format)"
      )
    }
    for entry in manifest.files { try check(entry) }
    for artifact in artifacts { try check(artifact) }
  }

  /// The artifact with a path; without one the smallest that this system runs, or the smallest of
  /// all if it runs none.
  public func artifact(_ path: String? = nil) throws -> Artifact {
    guard let path else { return artifacts.first(where: System.runs) ?? artifacts[0] }
    guard let found = artifacts.first(where: { $0.path == path }) else {
      let known = artifacts.map(\.path).joined(separator: ", ")
      throw BundleError("no artifact is called '\(path)'", todo: "name one of: \(known)")
    }
    return found
  }

  /// Where a file of the bundle lies.
  ///
  /// - Throws: `BundleError` if the path leaves the folder or leads through a symbolic link.
  public func url(_ path: String) throws -> URL {
    let parts = path.utf8.split(separator: UInt8(ascii: "/")).map { String(Substring($0)) }
    if parts.isEmpty || path.utf8.first == UInt8(ascii: "/") || parts.contains("..")
      || path.utf8.contains(UInt8(ascii: "\\"))
    {
      throw BundleError("the bundle names the path '\(path)'", why: "it leaves the folder")
    }
    if path.utf8.contains(0) {
      throw BundleError("the bundle names a path with a NUL character")
    }
    var current = folder
    for part in parts {
      current.appendPathComponent(part)
      if ModelBundle.type(of: current) == .typeSymbolicLink {
        throw BundleError("\(path) is a symbolic link", why: "a bundle has only files")
      }
    }
    return current
  }

  /// A file's bytes.
  public func data(_ path: String) throws -> Data {
    let file = try url(path)
    do {
      return try Data(contentsOf: file, options: .mappedIfSafe)
    } catch {
      throw BundleError("\(file.path) cannot be read", todo: "copy the bundle again")
    }
  }

  private static func type(of file: URL) -> FileAttributeType? {
    // Says what a link itself is, not what it points at.
    try? FileManager.default.attributesOfItem(atPath: file.path)[.type] as? FileAttributeType
  }

  private func check(_ entry: FileEntry) throws {
    let file = try url(entry.path)
    guard ModelBundle.type(of: file) == .typeRegular else {
      throw BundleError("\(file.path) is missing", todo: "copy or export the bundle again")
    }
    let content = try data(entry.path)
    if content.count != entry.bytes {
      throw BundleError(
        "\(file.path) has \(content.count) bytes", why: "the manifest says \(entry.bytes)",
        todo: "copy or export the bundle again")
    }
    if sha256(content) != entry.sha256 {
      throw BundleError(
        "\(file.path) was changed", why: "its SHA-256 is not the manifest's",
        todo: "copy or export the bundle again")
    }
  }

  private func check(_ artifact: Artifact) throws {
    if artifact.files.isEmpty {
      try check(
        FileEntry(path: artifact.path, bytes: artifact.bytes, sha256: artifact.sha256))
      return
    }
    let root = try url(artifact.path)
    guard ModelBundle.type(of: root) == .typeDirectory else {
      throw BundleError("\(root.path) is not a folder", todo: "copy or export the bundle again")
    }
    if listingSHA256(artifact) != artifact.sha256 {
      throw BundleError(
        "\(artifact.path): the manifest contradicts itself",
        why: "its SHA-256 is not that of its files", todo: "export the bundle again")
    }
    for entry in artifact.files { try check(entry) }
    let promised = Set(artifact.files.map(\.path))
    for inside in try FileManager.default.subpathsOfDirectory(atPath: root.path).sorted() {
      let path = "\(artifact.path)/\(inside)"
      if ModelBundle.type(of: root.appendingPathComponent(inside)) != .typeDirectory,
        !promised.contains(path)
      {
        throw BundleError("\(path) is not in the manifest", todo: "remove it, or export again")
      }
    }
  }

  /// SHA-256 of a folder: of one line per file, `SHA256 BYTES PATH`, sorted by path.
  private func listingSHA256(_ artifact: Artifact) -> String {
    let lines = artifact.files
      .map { (path: $0.path.utf8.dropFirst(artifact.path.utf8.count + 1), entry: $0) }
      .sorted { $0.path.lexicographicallyPrecedes($1.path) }
      .map { "\($0.entry.sha256) \($0.entry.bytes) \(Substring($0.path))\n" }
    return sha256(Data(lines.joined().utf8))
  }
}
