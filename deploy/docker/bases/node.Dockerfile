# Stands in for the official image where that cannot be pulled: Node and npm from the npm registry, for the stages that build our images.
FROM debian:bookworm-slim
COPY node /usr/local/bin/node
COPY npm/ /usr/local/lib/node_modules/npm/
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
