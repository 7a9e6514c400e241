// A real OpenID Connect provider (npm's oidc-provider) for the tests. It signs access tokens for the resource `urn:joey` with one
// of its keys, and publishes their public halves. Usage: node provider.mjs PACKAGE PORT ID..., where the ids of the keys that it
// generates begin with r (RSA), e (P-256) or o (Ed25519). The first key of a token's algorithm signs it.
import { generateKeyPairSync } from 'node:crypto';

const [packageFolder, port, ...ids] = process.argv.slice(2);
const { default: Provider } = await import(`${packageFolder}/lib/index.js`);

const generateKey = (id) => {
  const [alg, type, options] = {
    r: ['RS256', 'rsa', { modulusLength: 2048 }],
    e: ['ES256', 'ec', { namedCurve: 'P-256' }],
    o: ['EdDSA', 'ed25519', {}],
  }[id[0]];
  return { ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), kid: id, alg, use: 'sig' };
};
const keys = ids.map(generateKey);
const client = (id) => ({
  client_id: id,
  client_secret: `${id}-secret-of-sufficient-length-for-hs256`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  // No id token is issued, but the default requires an RSA key.
  id_token_signed_response_alg: keys[0].alg,
});
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [client('rs256'), client('es256'), client('eddsa'), client('nobody')],
  jwks: { keys },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (context, resource, client) => ({
        scope: 'shop-api shop-worker',
        audience: 'joey',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        jwt: { sign: { alg: { rs256: 'RS256', es256: 'ES256', eddsa: 'EdDSA', nobody: keys[0].alg }[client.clientId] } },
      }),
    },
  },
  // What an administrator would configure as claims or roles.
  extraTokenClaims: (context, token) =>
    token.clientId === 'nobody' ? {} : { resource_access: { joey: { watch: ['shop-*'], send: ['shop-api'] } } },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
