import type { Command } from 'commander';
import { type Policy, type PolicyId, policyIdOf, type XfrmClient } from '../client/index.ts';
import { messageToJson, PolicyAction, PolicyDir, PolicyFlag, PolicyType, type XfrmMessage } from '../xfrm/index.ts';
import { type KernelOptions, withClient, withKernelOptions } from './connect.ts';
import { ExitCode } from './exit-codes.ts';
import { CliError, doing } from './failure.ts';
import { readJsonLines } from './json-lines.ts';
import { withLimitOptions } from './lifetime-options.ts';
import { confirm, print, printJson } from './output.ts';
import {
  buildPolicy,
  type PolicyIdWords,
  type PolicyWords,
  policyIdFrom,
  policyType,
  template,
} from './policy-build.ts';
import { policyText } from './policy-text.ts';
import { selectorText, wordOf } from './text.ts';
import { bits, mark, prefix, proto, repeated, u16, u32, word } from './values.ts';

interface ListOptions extends KernelOptions {
  readonly dir?: number;
  readonly type?: number;
}

interface WriteOptions extends KernelOptions, PolicyWords {
  readonly from?: string;
}

const direction = word(PolicyDir, 0xff);

export function register(program: Command): void {
  const policy = program.command('policy').description('security policies of the kernel');

  withKernelOptions(policy.command('list').description('print the policies, newest first'))
    .option('--dir <dir>', 'only in, out or fwd', direction)
    .option('--type <type>', 'only main or sub', policyType)
    .addHelpText(
      'after',
      '\nExamples:\n  xfrmsync policy list --dir out\n  xfrmsync policy list --json > policies.jsonl',
    )
    .action(list);

  withKernelOptions(withPolicyId(policy.command('get').description('print one policy')))
    .addHelpText('after', identityHelp('get'))
    .action(get);

  const files = 'one policy a line, as `policy list --json` prints them; - is standard input';
  withKernelOptions(withPolicyWords(policy.command('add').description('install a policy, or many from a file')))
    .option('--from <file|->', files)
    .addHelpText('after', addHelp('add'))
    .action((options: WriteOptions) => write(options, 'added', (client, policy) => client.addPolicy(policy)));

  withKernelOptions(
    withPolicyWords(policy.command('update').description('replace a policy, or install it if there is none')),
  )
    .option('--from <file|->', files)
    .addHelpText('after', addHelp('update'))
    .action((options: WriteOptions) => write(options, 'updated', (client, policy) => client.updatePolicy(policy)));

  withKernelOptions(withPolicyId(policy.command('delete').description('remove one policy')))
    .addHelpText('after', identityHelp('delete'))
    .action(remove);

  withKernelOptions(policy.command('flush').description('remove all policies'))
    .option('--type <type>', 'main or sub', policyType, PolicyType.MAIN)
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  xfrmsync policy flush --yes')
    .action(flush);
}

function withPolicyId(command: Command): Command {
  return command
    .option('--dir <dir>', 'in, out or fwd', direction)
    .option('--src <prefix>', 'source addresses', prefix)
    .option('--dst <prefix>', 'destination addresses', prefix)
    .option('--proto <proto>', 'protocol of the traffic, such as udp', proto)
    .option('--sport <port>', 'source port', u16)
    .option('--dport <port>', 'destination port', u16)
    .option('--index <n>', 'index; the kernel chooses one if there is none', u32)
    .option('--type <type>', 'main or sub', policyType)
    .option('--mark <v/m>', 'mark', mark)
    .option('--if-id <n>', 'interface id', u32);
}

function withPolicyWords(command: Command): Command {
  withPolicyId(command)
    .option('--priority <n>', 'the lowest number wins (default: 0)', u32)
    .option('--action <action>', 'allow or block (default: allow)', word(PolicyAction, 0xff))
    .option('--flags <names>', Object.keys(PolicyFlag).join(',').toLowerCase(), bits(PolicyFlag))
    .option(
      '--tmpl <template>',
      'SA that the traffic needs: src=A,dst=B,proto=esp,mode=tunnel,reqid=N[,spi=][,share=][,optional]; repeatable',
      repeated(template),
    );
  return withLimitOptions(command);
}

const identityHelp = (verb: string): string => `
A policy is named by its direction and selector, or by its direction and index; type, mark and interface id must match exactly.

Examples:
  xfrmsync policy ${verb} --dir out --src 10.1.0.0/16 --dst 10.2.0.0/16
  xfrmsync policy ${verb} --dir out --index 9`;

const addHelp = (verb: string): string => `
Examples:
  xfrmsync policy ${verb} --dir out --src 10.1.0.0/16 --dst 10.2.0.0/16 --priority 100 \\
    --tmpl src=192.0.2.1,dst=192.0.2.2,proto=esp,mode=tunnel,reqid=1
  xfrmsync policy ${verb} --from policies.jsonl`;

async function show(policy: Policy, options: KernelOptions): Promise<void> {
  const message: XfrmMessage<'NEWPOLICY'> = { ...policy, kind: 'NEWPOLICY', flags: 0, seq: 0, pid: 0 };
  if (options.json) await printJson(messageToJson(message));
  else await print(policyText(policy));
}

async function list(options: ListOptions): Promise<void> {
  const { dir, type } = options;
  const policies = await withClient(options, (client) => doing('cannot list policies', client.dumpPolicies()));
  for (const policy of policies) {
    const own = policy.attributes.policyType?.type ?? PolicyType.MAIN;
    if ((dir ?? policy.body.dir) === policy.body.dir && (type ?? own) === own) await show(policy, options);
  }
}

function nameOf({ sel, index, dir }: PolicyId): string {
  return `policy ${wordOf(PolicyDir, dir)} ${sel ? selectorText(sel) : `index ${index}`}`;
}

async function get(options: KernelOptions & PolicyIdWords): Promise<void> {
  const id = policyIdFrom(options);
  const policy = await withClient(options, (client) => doing(`cannot read ${nameOf(id)}`, client.getPolicy(id)));
  if (!policy) throw new CliError(ExitCode.REFUSED, `there is no ${nameOf(id)}`);
  await show(policy, options);
}

async function write(
  options: WriteOptions,
  verb: string,
  send: (client: XfrmClient, policy: Policy) => Promise<void>,
): Promise<void> {
  if (options.from === undefined) {
    const policy = buildPolicy(options);
    const name = nameOf(policyIdOf(policy));
    await withClient(options, (client) => doing(`${name} not ${verb}`, send(client, policy)));
    if (options.json) await printJson({ [verb]: 1 });
    else await print(`${verb} ${name}`);
    return;
  }
  let count = 0;
  const { from } = options;
  await withClient(options, async (client) => {
    for await (const { where, message } of readJsonLines(from, 'NEWPOLICY')) {
      const what = `${where}: ${nameOf(policyIdOf(message))} not ${verb} (${count} were ${verb}, the rest was not tried)`;
      await doing(what, send(client, message));
      count++;
    }
  });
  if (options.json) await printJson({ [verb]: count });
  else await print(`${count} ${count === 1 ? 'policy' : 'policies'} ${verb}`);
}

async function remove(options: KernelOptions & PolicyIdWords): Promise<void> {
  const id = policyIdFrom(options);
  await withClient(options, (client) => doing(`cannot delete ${nameOf(id)}`, client.deletePolicy(id)));
  if (options.json) await printJson({ deleted: 1 });
  else await print(`deleted ${nameOf(id)}`);
}

async function flush(options: KernelOptions & { type: number; yes?: boolean }): Promise<void> {
  await withClient(options, async (client) => {
    const count = async (): Promise<number> => {
      const { in: inbound, out, fwd } = await doing('cannot count policies', client.spdInfo());
      return inbound + out + fwd;
    };
    const before = await count();
    const where = options.netns ? ` in ${options.netns}` : '';
    await confirm(`This removes all ${wordOf(PolicyType, options.type)} policies of ${before}${where}.`, options.yes);
    await doing('cannot flush policies', client.flushPolicies(options.type));
    const left = await count();
    if (options.json) await printJson({ flushed: before - left, left });
    else await print(`${before - left} policies removed, ${left} left`);
  });
}
