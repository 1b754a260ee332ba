// A step of a shared library: def image = imagectlResolve(image: 'debian-ci', channel: 'beta')
//
// The options are the build config's: image, channel, version, maxAge, catalog, root; all are optional
// where the repository has a .imagectl.yaml. They reach imagectl as variables of its environment, so no
// shell ever reads them. Returned is a map: name, version, channel, reference, sha256 and so on. An
// error of imagectl fails the build, and says why in its log.
def call(Map options = [:]) {
    Map names = [
        image: 'IMAGECTL_IMAGE', channel: 'IMAGECTL_CHANNEL', version: 'IMAGECTL_VERSION',
        maxAge: 'IMAGECTL_MAX_AGE', catalog: 'IMAGECTL_CATALOG', root: 'IMAGECTL_ROOT',
        location: 'IMAGECTL_LOCATION', format: 'IMAGECTL_FORMAT', branch: 'IMAGECTL_BRANCH'
    ]
    List variables = []
    for (option in options) {
        if (!names.containsKey(option.key)) {
            error("imagectlResolve: unknown option '${option.key}'; known: ${names.keySet().join(', ')}")
        }
        variables.add(names[option.key] + '=' + option.value)
    }
    String said = ''
    withEnv(variables) {
        said = sh(script: 'imagectl resolve --as env', returnStdout: true, label: 'imagectl resolve')
    }
    Map found = [:]
    for (line in said.trim().split('\n')) {
        int end = line.indexOf('=')
        found[line.substring(0, end).replaceFirst('^IMAGE_', '').toLowerCase()] = line.substring(end + 1)
    }
    return found
}
