variable "image" {
  type    = string
  default = "debian-ci:stable"
}

data "external" "image" {
  program = ["imagectl", "resolve", "--as", "strings", "--", var.image]
}

output "reference" {
  value = data.external.image.result.reference
}

output "version" {
  value = data.external.image.result.version
}
