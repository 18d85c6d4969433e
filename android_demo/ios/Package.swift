// swift-tools-version: 6.0

import PackageDescription

let package = Package(
  name: "MobileExport",
  // The oldest systems that the exporter makes Core ML packages for (DEPLOYMENT_TARGET=iOS16).
  platforms: [.iOS(.v16), .macOS(.v13)],
  products: [
    .library(name: "MobileExport", targets: ["MobileExport"]),
    .executable(name: "mobile-text", targets: ["mobile-text"]),
  ],
  targets: [
    .target(name: "MobileExport"),
    .executableTarget(name: "mobile-text", dependencies: ["MobileExport"]),
    .testTarget(name: "MobileExportTests", dependencies: ["MobileExport"]),
  ]
)
